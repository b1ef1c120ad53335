import Foundation

/// A client that sends exactly the bytes it is given, over a socket of its own.
final class RawPeer {
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// One answer.
  struct Answer {
    let status: Int
    /// Names in lower case.
    let fields: [String: String]
    let body: String
  }

  private let descriptor: Int32
  private var received: [UInt8] = []

  /// Connects to a port of this machine.
  init(port: Int) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var limit = timeval(tv_sec: 120, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    let result = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else { throw Failure(description: "connect: errno \(errno)") }
  }

  deinit { close(descriptor) }

  /// Sends bytes; false once the other side takes no more.
  @discardableResult func send(_ bytes: [UInt8]) -> Bool {
    var sent = 0
    while sent < bytes.count {
      let count = bytes[sent...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return false }
      sent += count
    }
    return true
  }

  /// Sends text.
  @discardableResult func send(_ text: String) -> Bool { send(Array(text.utf8)) }

  /// Sends no more.
  func finish() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// All that comes until the other side hangs up.
  func readToEnd() -> String {
    while receive() {}
    defer { received = [] }
    return String(decoding: received, as: UTF8.self)
  }

  /// What has come as soon as it holds `text`.
  func read(until text: String) throws -> String {
    let wanted = Array(text.utf8)
    while true {
      if let end = received.firstRange(of: wanted)?.upperBound {
        defer { received.removeFirst(end) }
        return String(decoding: received[..<end], as: UTF8.self)
      }
      guard receive() else {
        let got = String(decoding: received, as: UTF8.self)
        throw Failure(description: "hung up before \(text.debugDescription), after: \(got)")
      }
    }
  }

  /// The next answer.
  func answer(hasBody: Bool = true) throws -> Answer {
    let lines = try read(until: "\r\n\r\n").components(separatedBy: "\r\n")
    let status = Int(lines[0].split(separator: " ").dropFirst().first ?? "") ?? 0
    var fields: [String: String] = [:]
    for line in lines.dropFirst() where !line.isEmpty {
      let sides = line.split(separator: ":", maxSplits: 1)
      fields[sides[0].lowercased()] = sides[1].trimmingCharacters(in: .whitespaces)
    }
    let count = hasBody ? Int(fields["content-length"] ?? "") ?? 0 : 0
    while received.count < count {
      guard receive() else { throw Failure(description: "hung up in the body") }
    }
    defer { received.removeFirst(count) }
    return Answer(
      status: status, fields: fields,
      body: String(decoding: received[..<count], as: UTF8.self))
  }

  private func receive() -> Bool {
    let room = [UInt8](unsafeUninitializedCapacity: 65_536) { buffer, count in
      count = max(0, recv(descriptor, buffer.baseAddress, buffer.count, 0))
    }
    received += room
    return !room.isEmpty
  }
}

extension RawPeer.Answer {
  /// The body as a JSON object.
  var object: [String: Any] {
    let value = try? JSONSerialization.jsonObject(with: Data(body.utf8))
    return value as? [String: Any] ?? [:]
  }

  /// The code of the fault in the body.
  var code: String { object["code"] as? String ?? "" }
  /// The field of the fault in the body.
  var field: String { object["field"] as? String ?? "" }
}
