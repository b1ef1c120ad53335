package import KDNControl
internal import KDNCore
internal import KDNPool

extension ServerControl {
  /// Answers from memory.
  package func recodings() -> [RecodeReport] { recodeJobs.reports }

  /// Begins a job once nothing is known to stand in its way; all of it happens in the background.
  package func recode(
    _ order: RecodeOrder, by who: AdministratorName
  ) async throws(ControlFault) -> RecodeReport {
    var details: [(name: String, value: String)] = [
      ("namespace", order.namespace), ("codec", order.codec),
    ]
    do {
      let namespace = try self.namespace(order.namespace)
      let target = try RecodeTarget(
        order, in: namespace, of: context.pool, hasDisk: tier != nil,
        namesMax: context.limits.maxKeysPerRequest)
      try check(target, in: namespace.name)
      details += [
        ("scope", target.scope), ("tiers", target.tierNames.joined(separator: ",")),
        ("dry_run", "\(target.order.isTrial)"),
      ]
      let report = try recodeJobs.begin(target, in: namespace, of: context.pool, by: who)
      audit.granted("recode", by: who, details + [("job", "\(report.id)")])
      log.append(
        .recoding, by: who,
        "namespace \(namespace.name): job \(report.id) keeps \(target.scope) as \(report.codec) "
          + "in \(report.tiers.joined(separator: " and "))\(report.dryRun ? ", a dry run" : "")")
      return report
    } catch {
      audit.refused("recode", by: who, error, details)
      throw error
    }
  }

  /// What is under way comes to its end; the job is over a moment later.
  package func cancelRecode(
    of namespace: String, by who: AdministratorName
  ) throws(ControlFault) -> RecodeReport {
    guard let report = recodeJobs.cancel(of: namespace) else {
      let fault = ControlFault(.notFound, field: "namespace", "no job of it is under way")
      audit.refused("recode_cancel", by: who, fault, [("namespace", namespace)])
      throw fault
    }
    audit.granted(
      "recode_cancel", by: who, [("namespace", namespace), ("job", "\(report.id)")])
    return report
  }

  /// Refuses what would come to nothing.
  private func check(
    _ target: RecodeTarget, in namespace: NamespaceName
  ) throws(ControlFault) {
    let codec = target.codec
    if codec.needsProfile, !context.profiles.canEncode(codec, in: namespace) {
      throw ControlFault(
        .conflict, field: "codec",
        "'\(codec.name)' needs a profile, and the namespace has none in use that serves it")
    }
    guard codec == .raw, target.order.tiers.contains(.ram),
      let kept = context.pool.codecInRAM(of: namespace)
    else { return }
    let name = PayloadCodec(rawValue: kept)?.name ?? "\(kept)"
    throw ControlFault(
      .conflict, field: "codec",
      "the configuration encodes this namespace's objects in RAM as '\(name)', and would again; "
        + "change that first, or recode on disk alone")
  }
}

extension EventLog {
  /// Tells what came of a job.
  func append(_ report: RecodeReport, by who: AdministratorName) {
    let stayed = report.declined.values.reduce(0, +)
    append(
      .recoded, by: who,
      "namespace \(report.namespace): job \(report.id) is \(report.state.rawValue), "
        + "\(report.recodedObjects) of \(report.objectsDone) objects are \(report.codec) now, "
        + "\(report.bytesBefore) bytes became \(report.bytesAfter), \(stayed) objects stayed")
  }
}
