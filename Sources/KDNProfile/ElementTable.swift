internal import KDNCore

/// Numbers of the elements that have one byte, by byte.
enum ElementTable {
  /// The 256 values of `type`; nil for wider types.
  static func values(of type: ElementType) -> [Float]? {
    switch type {
    case .f8e4m3: (0...255).map { e4m3(UInt8($0)) }
    case .f8e5m2: (0...255).map { Float(Float16(bitPattern: UInt16($0) << 8)) }
    case .i8: (0...255).map { Float(Int8(bitPattern: UInt8($0))) }
    case .bf16, .f16, .f32: nil
    }
  }

  /// Four exponent bits of bias 7, no infinities; all ones is no number (OCP 8-bit formats, "FN").
  private static func e4m3(_ byte: UInt8) -> Float {
    let sign: Float = byte & 0x80 == 0 ? 1 : -1
    let exponent = Int(byte >> 3 & 15)
    let mantissa = Float(byte & 7)
    guard byte & 0x7F != 0x7F else { return .nan }
    guard exponent > 0 else { return sign * mantissa * 0x1p-9 }
    return sign * Float(sign: .plus, exponent: exponent - 7, significand: 1 + mantissa / 8)
  }
}
