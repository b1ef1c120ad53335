package import KDNCore
package import KDNWire

extension Client {
  /// Adds an operation to a document of this epoch, or any for 0; returns the operation's id.
  package func addEdit(
    _ operation: EditOperation, to document: String, epoch: UInt64 = 0,
    deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> UInt64 {
    let request = EditRequest.add(name: document, epoch: epoch, operation)
    guard case .edit(.added(let id)) = try ask(.edit(request), deadlineMilliseconds) else {
      mismatch()
    }
    return id
  }

  /// The operations on a document, in the order in which they came.
  package func edits(
    of document: String, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> [EditResponse.Row] {
    let request = Request.edit(.list(name: document))
    guard case .edit(.listed(let rows)) = try ask(request, deadlineMilliseconds) else {
      mismatch()
    }
    return rows
  }

  /// Takes back the operation of this id, or all for 0; returns how many they were.
  package func revertEdits(
    of document: String, id: UInt64 = 0, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> Int {
    let request = Request.edit(.revert(name: document, id: id))
    guard case .edit(.reverted(let count)) = try ask(request, deadlineMilliseconds) else {
      mismatch()
    }
    return count
  }

  /// Has what a document's edits change kept as it is delivered; returns how far that is.
  package func materialise(
    _ document: String, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> Materialised {
    try ask(document, isOrder: true, deadlineMilliseconds)
  }

  /// How much of what a document's edits change is kept as it is delivered.
  package func materialised(
    _ document: String, deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> Materialised {
    try ask(document, isOrder: false, deadlineMilliseconds)
  }

  private func ask(
    _ document: String, isOrder: Bool, _ deadlineMilliseconds: UInt32
  ) throws(ClientError) -> Materialised {
    let request = Request.edit(.materialise(name: document, isOrder: isOrder))
    guard case .edit(.materialised(let material)) = try ask(request, deadlineMilliseconds) else {
      mismatch()
    }
    return material
  }
}
