internal import KDNControl

extension MetricsFacts {
  /// Documents that are known by name.
  func addDocuments(_ known: DocumentReport, to text: inout MetricsText) {
    text.single("kdn_documents", .gauge, "Names that stand for a text.", known.documents)
    text.single("kdn_document_edits", .gauge, "Operations on documents' KV.", known.edits)
  }

  /// Blends of documents.
  func addBlends(_ blends: BlendReport, to text: inout MetricsText) {
    let counters: [(String, String, UInt64)] = [
      ("assembled", "Blends assembled.", blends.assembledTotal),
      ("assembled_tokens", "Their tokens.", blends.assembledTokensTotal),
      ("assembled_bytes", "Their bytes.", blends.assembledBytesTotal),
      ("hits", "Orders for a blend that was there already.", blends.hitsTotal),
      ("joined", "Orders that joined one under way.", blends.joinedTotal),
      (
        "edited_objects", "Objects of chunks that were edited for a blend.",
        blends.editedObjectsTotal
      ),
      (
        "edited_kept_objects", "Objects of chunks that were at hand as edits make them.",
        blends.editedKeptObjectsTotal
      ),
      (
        "materialised_objects", "Objects of chunks kept as edits make them, on order.",
        blends.materialisedObjectsTotal
      ),
      ("cancelled", "Blends given up while they were under way.", blends.cancelledTotal),
    ]
    for (name, help, value) in counters {
      text.single("kdn_blend_\(name)_total", .counter, help, value)
    }
    text.single(
      "kdn_blend_assemble_seconds_total", .counter,
      "Time from the order to the last layer, of all blends.", blends.assembleSecondsTotal)
    text.begin("kdn_blend_refused_total", .counter, "Orders for blends refused, by why.")
    let causes: [(String, UInt64)] = [
      ("forbidden", blends.forbiddenTotal), ("unknown", blends.unknownTotal),
      ("unsuited", blends.unsuitedTotal), ("missing", blends.missingTotal),
      ("busy", blends.busyTotal), ("without_room", blends.withoutRoomTotal),
    ]
    for (cause, value) in causes { text.add(value, ("cause", cause)) }
    text.single("kdn_blend_under_way", .gauge, "Blends under way.", blends.underWay)
    text.single("kdn_blend_kept", .gauge, "Blends assembled and remembered.", blends.kept)
  }
}
