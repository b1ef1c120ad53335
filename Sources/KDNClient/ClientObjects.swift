package import KDNCore
package import KDNWire

extension Client {
  /// Fetches a whole object of at most `capacity` bytes into a fresh array.
  ///
  /// - Returns: the bytes; `hit` with as many bytes as the array has, or why there are none.
  package func get(
    _ key: ObjectKey, capacity: Int, flags: GetRequest.Flags = [], deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> (result: GetResult, bytes: [UInt8]) {
    var failure: ClientError?
    var result = GetResult.miss(.neverStored)
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: max(1, capacity)) { buffer, count in
      do throws(ClientError) {
        let results = unsafe try connection.get(
          [GetRequest.Item(key: key)], into: [UnsafeMutableRawBufferPointer(buffer)],
          flags: flags, deadlineMilliseconds: deadlineMilliseconds)
        result = results[0]
        count = result.bytes
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return (result, bytes)
  }

  /// Stores `bytes` under the facts, whose `totalBytes` must be their number.
  ///
  /// - Throws: `refused` with what BEGIN or COMMIT was refused for.
  package func put(
    _ facts: PutBeginRequest, bytes: [UInt8], deadlineMilliseconds: UInt32 = 0
  ) throws(ClientError) -> PutCommitResponse.State {
    let result: Result<PutCommitResponse.State, ClientError> = unsafe bytes.withUnsafeBytes {
      do throws(ClientError) {
        let item = unsafe PutItem(facts, pieces: [$0])
        return .success(
          unsafe try connection.put(item, deadlineMilliseconds: deadlineMilliseconds))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }
}
