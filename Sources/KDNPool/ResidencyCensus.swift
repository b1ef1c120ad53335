/// In what form an object is kept.
enum ObjectForm: Hashable, Comparable, Sendable {
  /// The layout's own bytes.
  case raw
  /// Bytes of no layout.
  case opaque
  /// Another form of a layout's bytes, by the number that clients gave it.
  case variant(UInt32)
  /// Forms with a number beyond those that are told apart.
  case otherVariant
  /// Bytes that were encoded here, by the codec's number.
  case encoded(UInt8)

  /// Variants below this are counted each by itself: clients choose the numbers, and what is
  /// counted must have a limit.
  static let variantsTold: UInt32 = 64

  init(of object: StoredObject) {
    if let form = object.body.form {
      self = .encoded(form.codec)
      return
    }
    switch (object.key.kind, object.key.variant) {
    case (.opaque, _): self = .opaque
    case (.layout, 0): self = .raw
    case (.layout, 1..<Self.variantsTold): self = .variant(object.key.variant)
    case (.layout, _): self = .otherVariant
    }
  }

  /// The name used in statistics.
  var name: String {
    switch self {
    case .raw: "raw"
    case .opaque: "opaque"
    case .variant(let number): "variant-\(number)"
    case .otherVariant: "variant-other"
    case .encoded(let codec): CodecNames.name(of: codec)
    }
  }
}

/// How many live objects and bytes a tenant has in RAM, or all have.
struct ResidencyCensus: Sendable {
  /// Objects of one form.
  struct Form: Sendable {
    var objects = 0
    var bytes = 0
    /// What the same tokens take in the layout's own form.
    var rawBytes = 0

    mutating func add(_ other: Form) {
      objects += other.objects
      bytes += other.bytes
      rawBytes += other.rawBytes
    }
  }

  var objects = 0
  var bytes = 0
  /// Those of them that the slower tier holds too.
  var heldObjects = 0
  var heldBytes = 0
  /// Those of them that are pinned.
  var pinnedObjects = 0
  var pinnedBytes = 0
  /// By form; none of which there is nothing.
  var forms: [ObjectForm: Form] = [:]

  mutating func count(_ object: StoredObject, _ sign: Int) {
    objects += sign
    bytes += sign * object.storedBytes
    let name = ObjectForm(of: object)
    var form = forms[name] ?? Form()
    form.objects += sign
    form.bytes += sign * object.storedBytes
    form.rawBytes += sign * object.rawByteCount
    forms[name] = form.objects > 0 ? form : nil
  }

  mutating func countHeld(_ object: StoredObject, _ sign: Int) {
    heldObjects += sign
    heldBytes += sign * object.storedBytes
  }

  mutating func countPinned(_ object: StoredObject, _ sign: Int) {
    pinnedObjects += sign
    pinnedBytes += sign * object.storedBytes
  }
}
