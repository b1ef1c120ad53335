import KDNCore
import KDNMemory
import KDNTier
import Synchronization
import Testing

@testable import KDNPool

/// A directory of real files that is removed at the end, and pools over it.
private final class Place {
  let path = "/tmp/kdn-documents-\(UInt64.random(in: 0 ... .max))"
  private(set) var directory: FileDirectory?

  /// A pool that keeps its documents here, as a daemon that starts anew has it.
  func start(
    forgets: Bool = false, adjust: (inout PoolConfiguration) -> Void = { _ in }
  ) throws -> (fixture: Fixture, restored: RestoredDocuments) {
    // The lock of the one before is given back first.
    directory = nil
    let made = try FileDirectory(path: path)
    directory = made
    let fixture = try Fixture(adjust: adjust)
    let journal = DocumentJournal([(made, 1 << 30)])
    return (fixture, fixture.pool.keepDocuments(in: journal, forgetsDocuments: forgets))
  }

  func remove() throws {
    let directory = try FileDirectory(path: path)
    for file in try directory.list() where file.name != FileDirectory.lockName {
      try directory.remove(file.name)
    }
  }
}

/// Waits for the answer of what is done on another thread.
private func wait<Value: Sendable>(
  _ begin: (@escaping @Sendable (Result<Value, PoolRefusal>) -> Void) -> Void
) async throws -> Value {
  let result = await withCheckedContinuation { done in begin { done.resume(returning: $0) } }
  return try result.get()
}

@Suite("Documents that outlive the pool")
struct KeptDocumentTests {
  private let place = Place()

  private func document(_ name: String, tokens: Int = 32, in fixture: Fixture) throws -> Document {
    try Document(
      name: name, layout: fixture.layout.id, tokenCount: tokens, chunkTokens: 16,
      hashes: (0..<(tokens + 15) / 16).map { fixture.key($0).hash }, metadata: "of \(name)")
  }

  private func publish(_ text: Document, in fixture: Fixture) async throws -> PublishedDocument {
    try await wait { fixture.pool.publish(text, in: fixture.tenant, completion: $0) }
  }

  private func edit(
    _ name: String, epoch: UInt64 = 0, _ operation: EditOperation, in fixture: Fixture
  ) async throws -> UInt64 {
    try await wait {
      fixture.pool.edit(
        document: name, epoch: epoch, operation, in: fixture.tenant, completion: $0)
    }
  }

  private func names(_ fixture: Fixture) -> [String] {
    fixture.pool.documents(after: "", limit: 100, in: fixture.tenant).map(\.document.name)
  }

  @Test("come back with epoch, layout, edits and rules, and epochs go on from there")
  func restart() async throws {
    defer { try? place.remove() }
    var epochs: [UInt64] = []
    var edits: [DocumentEdit] = []
    do {
      let (fixture, restored) = try place.start()
      #expect(restored.documents == 0 && restored.problems.isEmpty)
      for name in ["b", "a", "c"] {
        epochs.append(try await publish(document(name, in: fixture), in: fixture).epoch)
      }
      let spans = try TokenSpans([0..<4, 8..<9])
      for operation in [EditOperation.scaleKeys(1.5, spans), .drop(spans)] {
        edits.append(
          DocumentEdit(id: try await edit("a", operation, in: fixture), operation: operation))
      }
      _ = try await wait {
        fixture.pool.retire(document: "c", in: fixture.tenant, completion: $0)
      }
      _ = try await wait {
        fixture.pool.changeAccessRules(
          denying: ["b*"], allowing: [], in: fixture.tenant, completion: $0)
      }
      fixture.pool.closeDocuments()
    }
    let (fixture, restored) = try place.start()
    #expect(restored.documents == 2 && restored.edits == 2 && restored.rules == 1)
    #expect(restored.lost == 0 && !restored.isDamaged && restored.problems.isEmpty)
    #expect(names(fixture) == ["a", "b"])
    let found = try #require(fixture.pool.published(document: "a", in: fixture.tenant))
    #expect(try found.document == document("a", in: fixture) && found.epoch == epochs[1])
    #expect(found.edits == edits && edits[0].id < edits[1].id && edits[0].id > epochs[2])
    #expect(!fixture.pool.mayUse(document: "big", in: fixture.tenant))
    #expect(fixture.pool.mayUse(document: "a", in: fixture.tenant))
    let next = try await publish(document("a", in: fixture), in: fixture)
    #expect(next.epoch > edits[1].id && next.edits.isEmpty)
  }

  @Test("know their layout again, though nobody registers it")
  func layouts() async throws {
    defer { try? place.remove() }
    let name = try NamespaceName("other")
    var id = LayoutID.none
    do {
      let (fixture, _) = try place.start()
      let other = try fixture.pool.namespace(name)
      let layout = try Layout(
        elementType: .i8, groups: [LayoutGroup(kind: .opaque(bytesPerToken: 7), layers: [0])])
      id = try fixture.pool.register(layout, in: other)
      let text = try Document(
        name: "x", layout: id, tokenCount: 1, chunkTokens: 16, hashes: [fixture.hash(1)])
      _ = try await wait { fixture.pool.publish(text, in: other, completion: $0) }
      fixture.pool.closeDocuments()
    }
    let (fixture, _) = try place.start()
    let other = try fixture.pool.namespace(name)
    #expect(fixture.pool.geometry(of: id, in: other) != nil)
    #expect(fixture.pool.resolve(document: "x", in: other)?.presentChunks == 0)
  }

  @Test("are forgotten for good by a purge, and so is a dropped cache's; epochs and rules stay")
  func forgotten() async throws {
    defer { try? place.remove() }
    var last: UInt64 = 0
    do {
      let (fixture, _) = try place.start()
      _ = try await publish(document("a", in: fixture), in: fixture)
      let rules = try AccessRules(denied: ["x"])
      _ = try await wait {
        fixture.pool.setAccessRules(
          rules, in: fixture.tenant, completion: $0)
      }
      let _: Void = try await wait {
        fixture.pool.forgetDocuments(of: fixture.tenant, completion: $0)
      }
      #expect(names(fixture).isEmpty)
      last = try await publish(document("b", in: fixture), in: fixture).epoch
      fixture.pool.closeDocuments()
    }
    do {
      let (fixture, _) = try place.start()
      #expect(names(fixture) == ["b"])
      fixture.pool.closeDocuments()
    }
    do {
      let (fixture, restored) = try place.start(forgets: true)
      #expect(names(fixture).isEmpty && restored.rules == 1)
      fixture.pool.closeDocuments()
    }
    let (fixture, restored) = try place.start()
    #expect(names(fixture).isEmpty && restored.rules == 1)
    #expect(try await publish(document("b", in: fixture), in: fixture).epoch > last)
  }

  @Test("that there is no memory or no place for any more are lost, and told")
  func lost() async throws {
    defer { try? place.remove() }
    do {
      let (fixture, _) = try place.start()
      for name in ["a", "b", "c"] {
        _ = try await publish(document(name, in: fixture), in: fixture)
      }
      fixture.pool.closeDocuments()
    }
    let (fixture, restored) = try place.start { $0.documentsPerNamespaceMax = 2 }
    #expect(restored.documents == 2 && restored.lost == 1 && names(fixture) == ["a", "b"])
  }

  @Test("of a pool that is closed change no more")
  func closed() async throws {
    defer { try? place.remove() }
    let (fixture, _) = try place.start()
    _ = try await publish(document("a", in: fixture), in: fixture)
    fixture.pool.closeDocuments()
    await #expect(throws: PoolRefusal.unavailable) {
      _ = try await publish(document("a", tokens: 16, in: fixture), in: fixture)
    }
    #expect(fixture.pool.published(document: "a", in: fixture.tenant)?.document.tokenCount == 32)
    let _: Void? = try? await wait {
      fixture.pool.forgetDocuments(of: fixture.tenant, completion: $0)
    }
    #expect(names(fixture).isEmpty)
  }

  @Test("take many changes at once, each seen by those behind it")
  func many() async throws {
    defer { try? place.remove() }
    let (fixture, _) = try place.start()
    let epochs = try await withThrowingTaskGroup(of: UInt64.self) { group in
      for number in 0..<200 {
        let text = try document("\(number % 50)", in: fixture)
        group.addTask {
          try await wait { fixture.pool.publish(text, in: fixture.tenant, completion: $0) }.epoch
        }
      }
      return try await group.reduce(into: Set<UInt64>()) { $0.insert($1) }
    }
    #expect(epochs.count == 200 && names(fixture).count == 50)
    fixture.pool.closeDocuments()
    let (again, restored) = try place.start()
    #expect(restored.documents == 50)
    let newest = again.pool.documents(after: "", limit: 100, in: again.tenant).map(\.epoch)
    #expect(newest.allSatisfy { epochs.contains($0) } && Set(newest).count == 50)
  }

  @Test("never get an epoch of an earlier run where nothing was kept")
  func epochBase() async throws {
    defer { try? place.remove() }
    let (fixture, _) = try place.start { $0.documentEpochBase = 5000 }
    #expect(try await publish(document("a", in: fixture), in: fixture).epoch == 5001)
    fixture.pool.closeDocuments()
    let (again, _) = try place.start { $0.documentEpochBase = 9000 }
    #expect(try await publish(document("a", in: again), in: again).epoch > 5001)
  }
}
