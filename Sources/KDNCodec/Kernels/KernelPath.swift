internal import CKernels

/// Which instructions the kernels use; all give the same bits.
package enum KernelPath: Int32, CaseIterable, Sendable {
  /// The best that the processor has.
  case automatic = 0
  /// Plain C.
  case scalar = 1
  /// 256-bit vectors.
  case avx2 = 2
  /// 512-bit vectors with VNNI and VBMI2.
  case avx512 = 3

  /// Whether the processor can run it.
  package var isAvailable: Bool { kdn_path_available(rawValue) == 1 }
}

/// Why a kernel refuses its input; numbers as in `CKernels.h`.
package enum KernelFault: Int32, Error {
  case badArgument = -1
  case truncated = -2
  case trailing = -3
  case badState = -4
  case badEscape = -5
  case badTable = -6
  case outOfRange = -7
  case noRoom = -8

  /// Throws what a result code says.
  static func check(_ result: Int32) throws(KernelFault) {
    guard result != KDN_OK else { return }
    throw KernelFault(rawValue: result) ?? .badArgument
  }
}
