internal import KDNCore
internal import KDNMemory
internal import KDNTier

/// Chunks as edits make them.
extension Pool {
  /// Lets edits be applied, once, before the pool serves.
  package func startEditing(_ former: any DocumentFormer) {
    editing.withLock { editing in
      precondition(editing == nil, "editing is started once")
      editing = Editing(former)
    }
  }

  /// What the edits of a document make of its chunks; nil if they leave them as they are.
  package func editedForm(
    of document: PublishedDocument, in namespace: Namespace
  ) -> EditedForm? {
    guard !document.edits.isEmpty, let editing = editing.withLock({ $0 }),
      let geometry = namespace.geometry(of: document.document.layout),
      var form = editing.former.form(of: document, geometry)
    else { return nil }
    if form.codec != 0 {
      form.profile = profile(for: form.codec, document.document.layout, in: namespace)
    }
    return form
  }

  func profile(
    for codec: UInt8, _ layout: LayoutID, in namespace: Namespace
  ) -> CodecProfileUse {
    coding.withLock { $0 }?.coder.profile(for: codec, layout, in: namespace.name) ?? .missing
  }

  /// The checksum of an object's bytes as a reader gets them now; nil if it is in neither tier.
  func sourceChecksum(of key: ObjectKey, in namespace: Namespace) -> Checksum? {
    if let body = live(key, in: namespace, now: clock.now())?.body {
      return body.form?.decodedChecksum ?? body.checksum
    }
    guard let backing, !backing.isClosing, let held = backing.held(key, in: namespace) else {
      return nil
    }
    return held.form?.decodedChecksum ?? held.checksum
  }

  /// The key under which an object is kept as it is delivered; nil if it is not.
  func keptKey(
    of base: ObjectKey, _ form: EditedForm, in namespace: Namespace
  ) -> ObjectKey? {
    guard let source = sourceChecksum(of: base, in: namespace) else { return nil }
    let key = form.key(of: base, source: source)
    return contains(key, in: namespace) ? key : nil
  }

  // MARK: One object

  /// What is edited: an object of a chunk.
  struct EditStep: Sendable {
    let form: EditedForm
    let key: ObjectKey
    /// The chunk's tokens in the document.
    let tokens: Range<Int>
    let namespace: Namespace

    /// The object of these bytes, for a codec.
    func subject(of raw: StoredBody) -> CodingSubject {
      CodingSubject(
        namespace: namespace.name, key: key,
        layout: namespace.geometry(of: key.layout)?.layout, firstToken: tokens.lowerBound,
        tokenCount: tokens.count, byteCount: raw.block.byteCount, checksum: raw.checksum)
    }
  }

  /// Why there is no edited object.
  enum EditFault: Error, Equatable {
    case withoutRoom
    /// None is in use, or another one than a moment ago.
    case withoutProfile
    case failed
  }

  /// Room for an edited object: RAM within the tenant's quota, else staging memory.
  private func takeEditRoom(_ byteCount: Int, _ namespace: Namespace) -> DecodeRoom? {
    if let room = takeRoom(byteCount, namespace, now: clock.now()) { return room }
    guard let memory = backing?.staging?.reserve(byteCount: byteCount, owner: namespace.owner)
    else { return nil }
    return DecodeRoom(memory, quota: nil)
  }

  /// The object with its strengths, in `room`.
  func strengthen(
    _ source: BlendSources.Held, _ step: EditStep, into room: DecodeRoom
  ) -> StoredBody {
    guard let memory = room.memory.take() else { preconditionFailure("room is taken once") }
    source.withBytes { bytes in
      memory.withBytes {
        step.form.editor.edit(bytes, of: step.key.part, tokens: step.tokens, into: &$0)
      }
    }
    let checksum = memory.checksum
    return StoredBody(memory.seal(keeping: room.takeQuota()), form: nil, checksum: checksum)
  }

  /// The object with its strengths, which are the source's own bytes where edits multiply nothing.
  func strengthened(
    _ source: BlendSources.Held, _ step: EditStep
  ) -> Result<StoredBody, EditFault> {
    guard step.form.editor.changes(step.tokens) else { return .success(source.body) }
    guard let room = takeEditRoom(source.byteCount, step.namespace) else {
      return .failure(.withoutRoom)
    }
    return .success(strengthen(source, step, into: room))
  }

  /// The object in the class of its form; nil where that makes it no smaller.
  func encoded(_ raw: StoredBody, _ step: EditStep) -> Result<StoredBody?, EditFault> {
    guard let coding = coding.withLock({ $0 }) else { return .failure(.withoutProfile) }
    let (form, namespace) = (step.form, step.namespace)
    let made = encode(raw, step.subject(of: raw), namespace, as: form.codec, coding)
    guard profile(for: form.codec, step.key.layout, in: namespace) == form.profile else {
      return .failure(.withoutProfile)
    }
    switch made {
    case .success(let body): return .success(body)
    case .failure(.declined): return .success(nil)
    case .failure(.withoutRoom): return .failure(.withoutRoom)
    case .failure(.withoutProfile): return .failure(.withoutProfile)
    case .failure(.failed): return .failure(.failed)
    }
  }

  /// The object as it is delivered, made on this thread.
  func deliver(
    _ source: BlendSources.Held, _ step: EditStep
  ) -> Result<BlendSources.Held, EditFault> {
    let raw: StoredBody
    switch strengthened(source, step) {
    case .success(let body): raw = body
    case .failure(let fault): return .failure(fault)
    }
    guard step.form.codec != 0 else { return .success(source.holding(raw)) }
    switch encoded(raw, step) {
    case .failure(let fault): return .failure(fault)
    case .success(nil): return .success(source.holding(raw))
    case .success(let body?):
      guard let coding = coding.withLock({ $0 }) else { return .failure(.failed) }
      guard let room = takeEditRoom(source.byteCount, step.namespace) else {
        return .failure(.withoutRoom)
      }
      switch decode(body, step.subject(of: raw), into: room, coding) {
      case .success(let decoded): return .success(source.holding(decoded))
      case .failure: return .failure(.failed)
      }
    }
  }
}
