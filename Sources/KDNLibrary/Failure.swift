internal import CKDN
internal import CPlatform
internal import Glibc
internal import KDNClient
internal import KDNCore
internal import KDNWire

/// Why a call of the library failed: what it returns, and what it leaves for the calling thread.
struct Failure: Error {
  let code: Int32
  let text: String
  var fault: FieldFault?
  var serverStatus: UInt32 = 0
  var retryAfterMilliseconds: UInt32 = 0

  init(_ code: kdn_status, _ text: String) {
    self.code = code.rawValue
    self.text = text
  }

  /// An argument that the caller got wrong.
  static func invalid(_ text: String) -> Failure { Failure(KDN_INVALID, text) }

  /// A field of something encoded that the caller got wrong.
  init(_ fault: FieldFault) {
    self.init(KDN_INVALID, "\(fault)")
    self.fault = fault
  }

  /// What came of a request.
  init(_ error: ClientError) {
    let code =
      switch error {
      case .cannotConnect: KDN_CANNOT_CONNECT
      case .refused: KDN_REFUSED
      case .goAway: KDN_WENT_AWAY
      case .lost: KDN_LOST
      case .deadline: KDN_DEADLINE
      case .protocolFault: KDN_PROTOCOL
      case .unsendable: KDN_UNSENDABLE
      }
    self.init(code, "\(error)")
    switch error {
    case .refused(let status, let body), .goAway(let status, let body):
      serverStatus = UInt32(status.rawValue)
      fault = body.fault
    case .unsendable(let fault): self.fault = fault
    case .cannotConnect, .lost, .deadline, .protocolFault: break
    }
    retryAfterMilliseconds = error.retryAfterMilliseconds ?? 0
  }

  /// Leaves it for the calling thread, and gives what its call returns.
  func record() -> Int32 {
    guard let record = unsafe kdn_last_failure() else { return code }
    unsafe record.pointee.status = serverStatus
    unsafe record.pointee.retry_after_milliseconds = retryAfterMilliseconds
    unsafe record.pointee.value = fault?.value ?? 0
    unsafe record.pointee.limit = fault?.limit ?? 0
    unsafe withUnsafeMutableBytes(of: &record.pointee.text) { unsafe Self.write(text, to: $0) }
    unsafe withUnsafeMutableBytes(of: &record.pointee.field) {
      unsafe Self.write(fault?.field ?? "", to: $0)
    }
    unsafe withUnsafeMutableBytes(of: &record.pointee.message) {
      unsafe Self.write(fault?.problem ?? "", to: $0)
    }
    return code
  }

  /// Writes as many whole characters as there is room for, and a zero behind them.
  private static func write(_ text: String, to place: UnsafeMutableRawBufferPointer) {
    var length = 0
    for character in text {
      let bytes = character.utf8
      guard length + bytes.count < place.count else { break }
      for byte in bytes {
        unsafe place[length] = byte == 0 ? 32 : byte
        length += 1
      }
    }
    unsafe place[length] = 0
  }
}

/// Runs a call; what it throws is left for the calling thread and becomes the result.
func call(_ body: () throws(Failure) -> Void) -> Int32 {
  do throws(Failure) {
    try body()
    return KDN_OK.rawValue
  } catch {
    return error.record()
  }
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_error_text() -> UnsafePointer<CChar>? {
  unsafe text(in: \.text)
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_error_field() -> UnsafePointer<CChar>? {
  unsafe text(in: \.field)
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_error_message() -> UnsafePointer<CChar>? {
  unsafe text(in: \.message)
}

/// A text of the calling thread's record, which stands at one place as long as the thread lives.
private func text(
  in field: PartialKeyPath<kdn_failure>
) -> UnsafePointer<CChar>? {
  guard let record = unsafe kdn_last_failure(),
    let offset = MemoryLayout<kdn_failure>.offset(of: field)
  else { return nil }
  return unsafe (UnsafeRawPointer(record) + offset).assumingMemoryBound(to: CChar.self)
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_error_value() -> UInt64 { unsafe kdn_last_failure()?.pointee.value ?? 0 }

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_error_limit() -> UInt64 { unsafe kdn_last_failure()?.pointee.limit ?? 0 }

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_error_server_status() -> UInt32 {
  unsafe kdn_last_failure()?.pointee.status ?? 0
}

// swift-format-ignore: AlwaysUseLowerCamelCase
/// What `kdn.h` says of it.
@c @implementation
public func kdn_error_retry_after_ms() -> UInt32 {
  unsafe kdn_last_failure()?.pointee.retry_after_milliseconds ?? 0
}
