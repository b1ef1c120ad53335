package import KDNCodec
package import KDNCore

/// Why no profile could be learned.
package enum LearningFault: Error, CustomStringConvertible {
  /// A value from outside is malformed or beyond its limit.
  case field(FieldFault)
  /// No library with BLAS and LAPACK; the files that were tried.
  case noLinearAlgebra(tried: [String])
  /// An eigenvalue problem has no answer; LAPACK's own number for it.
  case notSolved(order: Int, status: Int)
  /// A layout without attention layers has nothing that a basis could be learned of.
  case noAttention
  /// More memory would be needed than is allowed, in bytes.
  case memory(needed: Int, limit: Int)
  /// The profile would be beyond a limit of its format.
  case profile(CodecFault)
  /// No token was left to learn from.
  case nothingLearned(NothingLearned)

  /// What became of all that was fed.
  package struct NothingLearned: Equatable, Sendable {
    /// Chunks fed.
    package let chunkCount: Int
    /// Chunks with a value that is not finite.
    package let nonFiniteChunkCount: Int
    /// Pieces of chunks of which most tokens lie far outside of the rest, over all runs of layers.
    package let brokenPieceCount: Int
  }

  package var description: String {
    switch self {
    case .field(let fault): "\(fault)"
    case .noLinearAlgebra(let tried):
      """
      learning a basis needs BLAS and LAPACK, and none of \(tried.joined(separator: ", ")) can be \
      opened; on Debian: apt install libopenblas0-serial (or libopenblas0-pthread)
      """
    case .notSolved(let order, let status):
      "LAPACK found no eigenvectors of a matrix of order \(order) (status \(status))"
    case .profile(let fault): "no profile: \(fault)"
    case .noAttention: "the part has no attention layer, so there is no basis to learn"
    case .memory(let needed, let limit):
      "learning needs \(needed) bytes of memory and may take \(limit)"
    case .nothingLearned(let counts):
      """
      nothing to learn from: \(counts.chunkCount) chunks, \(counts.nonFiniteChunkCount) of them \
      with values that are not finite, and \(counts.brokenPieceCount) pieces far outside of the rest
      """
    }
  }
}
