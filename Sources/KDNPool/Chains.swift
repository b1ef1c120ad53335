internal import KDNCore

/// The resident objects as a forest: who builds on whom, and who is in which namespace.
///
/// A child hangs under the object of its parent's hash in the same layout, part and variant, and
/// only if its first token comes later: clients name parents, and this way no naming makes a ring.
/// Children whose parent is not here hang under its name until it comes.
struct Chains: Sendable {
  /// A place for an object, or the head of a ring of them.
  private struct Node: Sendable {
    var object: StoredObject?
    var nextInSpace: Int32 = -1
    var previousInSpace: Int32 = -1
    var parent: Int32 = -1
    var firstChild: Int32 = -1
    var nextSibling: Int32 = -1
    var previousSibling: Int32 = -1
  }

  private struct ParentName: Hashable, Sendable {
    let namespace: UInt32
    let hash: ChunkHash
  }

  /// What an insertion changed for the order of eviction.
  struct Insertion {
    /// The parent, which has a child now.
    var covered: Int32?
  }

  /// What a removal changed for the order of eviction.
  struct Removal {
    /// The parent, if it has no child any more.
    var uncovered: Int32?
    /// The children, which have no parent any more.
    var orphans: [Int32] = []
  }

  private var nodes: [Node] = []
  private var freeSlots: [Int32] = []
  /// Head of the ring of each namespace's present generation.
  private var heads: [Int32] = []
  /// Heads of the rings of ended generations, oldest first, and whose they are.
  private var deadHeads: [(head: Int32, namespace: UInt32)] = []
  private var orphans: [ParentName: Int32] = [:]

  /// The object in a slot.
  subscript(slot: Int32) -> StoredObject {
    guard let object = nodes[Int(slot)].object else {
      preconditionFailure("slot \(slot) holds no object")
    }
    return object
  }

  func hasChildren(_ slot: Int32) -> Bool { nodes[Int(slot)].firstChild >= 0 }

  /// Whether the object has a parent that is not here.
  func isOrphan(_ slot: Int32) -> Bool {
    nodes[Int(slot)].parent < 0 && self[slot].parent != .none
  }

  mutating func addNamespace() { heads.append(addHead()) }

  mutating func endGeneration(of namespace: UInt32) {
    let head = heads[Int(namespace)]
    guard nodes[Int(head)].nextInSpace != head else { return }
    deadHeads.append((head, namespace))
    heads[Int(namespace)] = addHead()
  }

  /// An object of the oldest ended generation that has any.
  mutating func nextDead() -> StoredObject? {
    while let head = deadHeads.first?.head {
      let next = nodes[Int(head)].nextInSpace
      guard next == head else { return self[next] }
      deadHeads.removeFirst()
      free(head)
    }
    return nil
  }

  /// An object of an ended generation of one namespace.
  func nextDead(of namespace: UInt32) -> StoredObject? {
    for dead in deadHeads where dead.namespace == namespace {
      let next = nodes[Int(dead.head)].nextInSpace
      if next != dead.head { return self[next] }
    }
    return nil
  }

  /// How many slots there are, those of no object among them.
  var slotCount: Int { nodes.count }

  /// The object in a slot, if there is one and it is of its namespace's present generation.
  func object(in slot: Int) -> StoredObject? {
    guard let object = nodes[slot].object, object.generation == object.namespace.generation
    else { return nil }
    return object
  }

  /// The object in a slot, if there is one and it is of this namespace's present generation.
  func object(in slot: Int, of namespace: Namespace) -> StoredObject? {
    guard let object = nodes[slot].object, object.namespace === namespace,
      object.generation == namespace.generation
    else { return nil }
    return object
  }

  /// All objects of a namespace's present generation for which `isWanted`; takes time linear in
  /// their number.
  func objects(of namespace: UInt32, where isWanted: (StoredObject) -> Bool) -> [StoredObject] {
    var found: [StoredObject] = []
    let head = heads[Int(namespace)]
    var slot = nodes[Int(head)].nextInSpace
    while slot != head {
      if isWanted(self[slot]) { found.append(self[slot]) }
      slot = nodes[Int(slot)].nextInSpace
    }
    return found
  }

  /// Hashes of the chunks of the present generation that build on `hash`, whose objects are
  /// `objects`.
  func childHashes(
    of objects: [StoredObject], hash: ChunkHash, in namespace: Namespace
  ) -> [ChunkHash] {
    let name = ParentName(namespace: namespace.number, hash: hash)
    let generation = namespace.generation
    var found: [ChunkHash] = []
    collect(from: orphans[name] ?? -1, generation, into: &found)
    for object in objects {
      collect(from: nodes[Int(object.slot)].firstChild, generation, into: &found)
    }
    return found
  }

  private func collect(
    from first: Int32, _ generation: UInt64, into found: inout [ChunkHash]
  ) {
    var slot = first
    while slot >= 0 {
      if self[slot].generation == generation { found.append(self[slot].key.hash) }
      slot = nodes[Int(slot)].nextSibling
    }
  }
}

extension Chains {
  /// Adds an object under `parent`, the object of its parent's name if that is here, and hangs
  /// waiting children under it.
  mutating func insert(_ object: StoredObject, under parent: StoredObject?) -> Insertion {
    let slot = allocate(object)
    object.slot = slot
    linkInSpace(slot, before: heads[Int(object.namespace.number)])
    adopt(slot)
    guard object.parent != .none else { return Insertion() }
    if let parent, parent.slot >= 0, parent.isAkin(to: object),
      parent.firstToken < object.firstToken
    {
      hang(slot, under: parent.slot)
      return Insertion(covered: parent.slot)
    }
    hangAsOrphan(slot)
    return Insertion()
  }

  /// Removes an object; its children become orphans.
  mutating func remove(_ object: StoredObject) -> Removal {
    let slot = object.slot
    var change = Removal()
    let parent = nodes[Int(slot)].parent
    unhang(slot)
    if parent >= 0, nodes[Int(parent)].firstChild < 0 { change.uncovered = parent }
    while nodes[Int(slot)].firstChild >= 0 {
      let child = nodes[Int(slot)].firstChild
      unhang(child)
      hangAsOrphan(child)
      change.orphans.append(child)
    }
    unlinkInSpace(slot)
    free(slot)
    object.slot = -1
    return change
  }

  private mutating func adopt(_ slot: Int32) {
    let object = self[slot]
    let name = ParentName(namespace: object.namespace.number, hash: object.key.hash)
    var child = orphans[name] ?? -1
    while child >= 0 {
      let next = nodes[Int(child)].nextSibling
      let isOwn =
        object.isAkin(to: self[child])
        && object.firstToken < self[child].firstToken
      if isOwn {
        unhang(child)
        hang(child, under: slot)
      }
      child = next
    }
  }

  private mutating func hang(_ slot: Int32, under parent: Int32) {
    nodes[Int(slot)].parent = parent
    pushSibling(slot, before: nodes[Int(parent)].firstChild)
    nodes[Int(parent)].firstChild = slot
  }

  private mutating func hangAsOrphan(_ slot: Int32) {
    let name = ParentName(namespace: self[slot].namespace.number, hash: self[slot].parent)
    pushSibling(slot, before: orphans[name] ?? -1)
    orphans[name] = slot
  }

  private mutating func pushSibling(_ slot: Int32, before first: Int32) {
    nodes[Int(slot)].previousSibling = -1
    nodes[Int(slot)].nextSibling = first
    if first >= 0 { nodes[Int(first)].previousSibling = slot }
  }

  /// Takes a slot from under its parent, or its parent's name; does nothing for a first chunk.
  private mutating func unhang(_ slot: Int32) {
    let node = nodes[Int(slot)]
    guard let object = node.object, object.parent != .none else { return }
    if node.nextSibling >= 0 {
      nodes[Int(node.nextSibling)].previousSibling = node.previousSibling
    }
    if node.previousSibling >= 0 {
      nodes[Int(node.previousSibling)].nextSibling = node.nextSibling
    } else if node.parent >= 0 {
      nodes[Int(node.parent)].firstChild = node.nextSibling
    } else {
      let name = ParentName(namespace: object.namespace.number, hash: object.parent)
      orphans[name] = node.nextSibling >= 0 ? node.nextSibling : nil
    }
    nodes[Int(slot)].parent = -1
  }

  private mutating func linkInSpace(_ slot: Int32, before next: Int32) {
    let previous = nodes[Int(next)].previousInSpace
    nodes[Int(slot)].nextInSpace = next
    nodes[Int(slot)].previousInSpace = previous
    nodes[Int(previous)].nextInSpace = slot
    nodes[Int(next)].previousInSpace = slot
  }

  private mutating func unlinkInSpace(_ slot: Int32) {
    let node = nodes[Int(slot)]
    nodes[Int(node.previousInSpace)].nextInSpace = node.nextInSpace
    nodes[Int(node.nextInSpace)].previousInSpace = node.previousInSpace
  }

  private mutating func addHead() -> Int32 {
    let head = allocate(nil)
    nodes[Int(head)].nextInSpace = head
    nodes[Int(head)].previousInSpace = head
    return head
  }

  private mutating func allocate(_ object: StoredObject?) -> Int32 {
    guard let slot = freeSlots.popLast() else {
      nodes.append(Node(object: object))
      return Int32(nodes.count - 1)
    }
    nodes[Int(slot)] = Node(object: object)
    return slot
  }

  private mutating func free(_ slot: Int32) {
    nodes[Int(slot)] = Node()
    freeSlots.append(slot)
  }
}
