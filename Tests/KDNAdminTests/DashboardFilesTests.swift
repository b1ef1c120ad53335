import Testing

@testable import KDNAdmin

@Suite struct DashboardFilesTests {
  @Test func thePageIsHTMLWithoutAnythingInline() throws {
    let page = try #require(DashboardFiles.file(at: "/"))
    #expect(page.contentType == "text/html; charset=utf-8")
    #expect(page.contentEncoding == nil)
    let text = String(decoding: page.bytes, as: UTF8.self)
    #expect(!text.contains("style=") && !text.contains("<style") && !text.contains("onclick"))
  }

  @Test func everyFileThatThePageNamesIsServed() throws {
    let page = try #require(DashboardFiles.file(at: "/"))
    let text = String(decoding: page.bytes, as: UTF8.self)
    let named = text.matches(of: /(?:src|href)="(\/[a-z.-]+\.(?:js|css|txt))"/).map { String($0.1) }
    #expect(named.count >= 5)
    for path in named { #expect(DashboardFiles.paths.contains(path), "\(path)") }
  }

  @Test func everyModuleThatAScriptImportsIsServed() {
    for path in DashboardFiles.paths where path.hasSuffix(".js") {
      guard let file = DashboardFiles.file(at: path), file.contentEncoding == nil else { continue }
      let text = String(decoding: file.bytes, as: UTF8.self)
      for found in text.matches(of: /from "\.(\/[a-z]+\.js)"/) {
        #expect(DashboardFiles.paths.contains(String(found.1)), "\(path) imports \(found.1)")
      }
    }
  }

  @Test func theChartsAreCompressed() throws {
    let charts = try #require(DashboardFiles.file(at: "/dygraph.min.js"))
    #expect(charts.contentEncoding == "gzip")
    #expect(charts.contentType == "text/javascript; charset=utf-8")
    #expect(charts.bytes.prefix(2) == [0x1f, 0x8b])
  }

  @Test func tagsAreQuotedAndTellFilesApart() {
    let tags = DashboardFiles.paths.compactMap { DashboardFiles.file(at: $0)?.etag }
    #expect(Set(tags).count == DashboardFiles.paths.count)
    for tag in tags { #expect(tag.wholeMatch(of: /"[0-9a-f]{24}"/) != nil) }
  }

  @Test func allTogetherStaysSmall() {
    let bytes = DashboardFiles.paths.compactMap { DashboardFiles.file(at: $0)?.bytes.count }
    #expect(bytes.reduce(0, +) < 300_000)
  }

  @Test func thereIsNoFileAtAnotherPath() {
    #expect(DashboardFiles.file(at: "/../app.js") == nil)
    #expect(DashboardFiles.file(at: "/README.md") == nil)
  }
}
