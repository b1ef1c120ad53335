/// The dashboard: what is served at which path, embedded in the binary.
package enum DashboardFiles {
  /// Every path that has a file.
  package static let paths: [String] = files.keys.sorted()

  /// The file at a path; nil if there is none.
  package static func file(at path: String) -> DashboardFile? { files[path] }

  private static let files: [String: DashboardFile] = [
    "/": DashboardFile(named: "index.html", PackageResources.index_html),
    "/style.css": DashboardFile(named: "style.css", PackageResources.style_css),
    "/theme.js": DashboardFile(named: "theme.js", PackageResources.theme_js),
    "/app.js": DashboardFile(named: "app.js", PackageResources.app_js),
    "/api.js": DashboardFile(named: "api.js", PackageResources.api_js),
    "/bars.js": DashboardFile(named: "bars.js", PackageResources.bars_js),
    "/causes.js": DashboardFile(named: "causes.js", PackageResources.causes_js),
    "/chart.js": DashboardFile(named: "chart.js", PackageResources.chart_js),
    "/charts.js": DashboardFile(named: "charts.js", PackageResources.charts_js),
    "/colours.js": DashboardFile(named: "colours.js", PackageResources.colours_js),
    "/events.js": DashboardFile(named: "events.js", PackageResources.events_js),
    "/facts.js": DashboardFile(named: "facts.js", PackageResources.facts_js),
    "/format.js": DashboardFile(named: "format.js", PackageResources.format_js),
    "/glance.js": DashboardFile(named: "glance.js", PackageResources.glance_js),
    "/history.js": DashboardFile(named: "history.js", PackageResources.history_js),
    "/knowledge.js": DashboardFile(named: "knowledge.js", PackageResources.knowledge_js),
    "/panels.js": DashboardFile(named: "panels.js", PackageResources.panels_js),
    "/table.js": DashboardFile(named: "table.js", PackageResources.table_js),
    "/dygraph.min.css": DashboardFile(named: "dygraph.min.css", PackageResources.dygraph_min_css),
    "/dygraph.min.js": DashboardFile(
      named: "dygraph.min.js.gz", PackageResources.dygraph_min_js_gz),
    "/dygraphs-licence.txt": DashboardFile(
      named: "dygraphs-licence.txt", PackageResources.dygraphs_licence_txt),
  ]
}
