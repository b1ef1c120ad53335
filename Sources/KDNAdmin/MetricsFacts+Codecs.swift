internal import KDNControl

extension MetricsFacts {
  /// The forms in which objects are kept, in RAM and on disk.
  func addCodecs(to text: inout MetricsText) {
    let gauges: [(String, String, KeyPath<CodecReport, Int>)] = [
      ("objects", "by the form they are kept in.", \.objects),
      ("bytes", "in bytes as they are kept.", \.bytes),
      ("raw_bytes", "in the bytes that they would take raw.", \.rawBytes),
    ]
    for (name, help, path) in gauges {
      text.begin("kdn_codec_\(name)", .gauge, "Objects in RAM, \(help)")
      for codec in report.codecs { text.add(codec[keyPath: path], ("codec", codec.name)) }
    }
    guard let codecs = report.diskCodecs else { return }
    for (name, help, path) in gauges {
      text.begin("kdn_disk_codec_\(name)", .gauge, "Objects on disk, \(help)")
      for codec in codecs { text.add(codec[keyPath: path], ("codec", codec.name)) }
    }
  }

  /// Encoding and decoding in the background.
  func addCoding(_ coding: CodingReport, to text: inout MetricsText) {
    let counters: [(String, String, UInt64)] = [
      ("encoded", "Objects encoded.", coding.encodedTotal),
      ("encoded_raw_bytes", "Their bytes before.", coding.encodedRawBytesTotal),
      ("encoded_bytes", "Their bytes after.", coding.encodedBytesTotal),
      ("declined", "Objects for which it did not pay.", coding.declinedTotal),
      ("failed", "Objects that could not be encoded.", coding.failedTotal),
      (
        "without_room", "Objects for whose encoded bytes there was no room.",
        coding.withoutRoomTotal
      ),
      (
        "overflows", "Objects written raw because too many waited to be encoded.",
        coding.overflowsTotal
      ),
      ("replaced", "Objects in RAM replaced by another form.", coding.replacedTotal),
      ("rewritten", "Objects on disk replaced by another form.", coding.rewrittenTotal),
      (
        "rewrites_refused", "Objects on disk that stayed as they were.",
        coding.rewritesRefusedTotal
      ),
      ("recoded", "Objects recoded by order.", coding.recodedTotal),
      (
        "recodes_declined", "Objects of such orders that stayed as they were.",
        coding.recodesDeclinedTotal
      ),
      ("decoded", "Objects decoded for readers.", coding.decodedTotal),
      ("decoded_bytes", "Their bytes after.", coding.decodedBytesTotal),
      ("decodes_joined", "Readers served by another's decoding.", coding.decodesJoinedTotal),
      ("decodes_failed", "Objects that could not be decoded.", coding.decodesFailedTotal),
      (
        "profiles_lost", "Profiles in use before the start that could not be used again.",
        coding.profilesLostTotal
      ),
    ]
    for (name, help, value) in counters {
      text.single("kdn_coding_\(name)_total", .counter, help, value)
    }
    text.single(
      "kdn_coding_encode_seconds_total", .counter, "Processor time of encoding.",
      coding.encodeSecondsTotal)
    let gauges: [(String, String, Int)] = [
      ("recodings", "Orders to recode under way.", coding.recodings),
      ("queued", "Objects that wait to be encoded.", coding.queued),
      ("encoding", "Objects being encoded.", coding.encoding),
      ("decoding", "Objects being decoded.", coding.decoding),
      ("profiles_in_use", "Profiles that objects are encoded with.", coding.profilesInUse),
      ("profiles_loaded", "Profiles in memory.", coding.profilesLoaded),
      ("profile_bytes", "Bytes of profiles in memory.", coding.profileBytes),
    ]
    for (name, help, value) in gauges { text.single("kdn_coding_\(name)", .gauge, help, value) }
  }

  /// What GET sent in which form.
  func addDelivery(_ delivery: DeliveryReport, to text: inout MetricsText) {
    let counters: [(String, String, KeyPath<DeliveryReport.Codec, UInt64>)] = [
      ("items", "Items that GET sent, by the form they were sent in.", \.itemsTotal),
      ("sent_bytes", "Their bytes as they were sent.", \.sentBytesTotal),
      ("raw_bytes", "The bytes that they stand for.", \.rawBytesTotal),
    ]
    for (name, help, path) in counters {
      text.begin("kdn_delivery_\(name)_total", .counter, help)
      for codec in delivery.codecs { text.add(codec[keyPath: path], ("codec", codec.name)) }
    }
    text.single(
      "kdn_delivery_adapted_total", .counter,
      "Answers in which items were chosen by the deadline.", delivery.adaptedTotal)
    text.single(
      "kdn_delivery_recompute_total", .counter, "Items left to be computed again.",
      delivery.recomputeTotal)
    text.single(
      "kdn_delivery_inexact_total", .counter,
      "Items refused because only lossy bytes were there.", delivery.inexactTotal)
  }
}
