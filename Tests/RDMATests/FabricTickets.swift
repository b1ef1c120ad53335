import KDNClient
import KDNCore
import KDNTransport
import KDNWire

extension FabricTesting {
  /// A ticket of the tests' namespace, asked for over TCP.
  func ticket(from endpoint: Endpoint) throws -> LinkTicketResponse {
    let connection = try Connection(
      endpoint, namespace: NamespaceName("default"), token: FabricClient.token)
    guard case .linkTicket(let answer) = try connection.request(.linkTicket(LinkTicketRequest()))
    else { throw NoTicket() }
    return answer
  }
}

/// The server answered with something else.
struct NoTicket: Error {}
