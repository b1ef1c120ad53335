package import KDNCore

/// A window of the tokens of one plane, as kernels take it.
package struct KernelWindow: Sendable {
  /// The type of its elements.
  package var type: ElementType
  /// KV heads; channel = head · dims + dim.
  package var heads: Int
  /// Elements of one head and token.
  package var dims: Int
  /// Tokens of the window.
  package var tokens: Int
  /// Tokens of the whole plane, from the window's first on at least `tokens`.
  package var headTokens: Int
  /// How elements turn with position, if they do.
  package var rotation: KernelRotation?

  /// Creates a window.
  package init(
    type: ElementType, heads: Int, dims: Int, tokens: Int, headTokens: Int? = nil,
    rotation: KernelRotation? = nil
  ) {
    self.type = type
    self.heads = heads
    self.dims = dims
    self.tokens = tokens
    self.headTokens = headTokens ?? tokens
    self.rotation = rotation
  }

  /// Channels, `heads * dims`.
  package var channels: Int { heads * dims }
  /// Elements from the window's first to its last, other tokens between heads included.
  package var span: Int { ((heads - 1) * headTokens + tokens) * dims }

  /// Where an element lies, in elements from the window's first.
  func offset(head: Int, token: Int, dim: Int) -> Int {
    (head * headTokens + token) * dims + dim
  }
}

/// Cosines and sines of each token, and which dimensions they turn.
package struct KernelRotation: Sendable {
  /// The first dimension that turns.
  package var firstDim: Int
  /// How many dimensions turn, even.
  package var dims: Int
  /// Pairs are (2i, 2i + 1); else (i, i + dims / 2).
  package var isInterleaved: Bool
  /// `[token][pair]`.
  package var cosines: [Float]
  /// `[token][pair]`.
  package var sines: [Float]

  /// Creates a rotation.
  package init(
    firstDim: Int = 0, dims: Int, isInterleaved: Bool = false, cosines: [Float], sines: [Float]
  ) {
    self.firstDim = firstDim
    self.dims = dims
    self.isInterleaved = isInterleaved
    self.cosines = cosines
    self.sines = sines
  }

  /// The two dimensions of a pair.
  func pair(_ index: Int) -> (first: Int, second: Int) {
    isInterleaved
      ? (firstDim + 2 * index, firstDim + 2 * index + 1)
      : (firstDim + index, firstDim + index + dims / 2)
  }
}

/// A coded matrix: 32 states and words, and the values that have no symbol.
package struct KernelStream: Hashable, Sendable {
  /// 32 u32 states, then u16 words.
  package var bytes: [UInt8]
  /// i16 values, in decode order.
  package var escapes: [UInt8]

  /// Creates a stream.
  package init(bytes: [UInt8], escapes: [UInt8]) {
    self.bytes = bytes
    self.escapes = escapes
  }
}

/// What says how the coefficients of a uniform block become values.
package struct KernelSteps: Sendable {
  /// One class per channel, 0: not coded.
  package var classes: [UInt8]
  /// Means in 1/16 steps.
  package var means: [Int16]
  /// A factor on the step of each channel, if they differ.
  package var weights: [Float]?
  /// The step.
  package var step: Float

  /// Creates the steps of a block.
  package init(classes: [UInt8], means: [Int16], weights: [Float]? = nil, step: Float) {
    self.classes = classes
    self.means = means
    self.weights = weights
    self.step = step
  }
}

/// The columns of a basis that one plane takes, and how its sums become values.
package struct KernelBasis: Sendable {
  /// One class per coefficient, 0: not coded; 128 more for coarse ones.
  package var classes: [UInt8]
  /// Coarse rows count in steps of 2^shift.
  package var shift: UInt32
  /// `[coefficient][column]`.
  package var matrix: [Int16]
  /// Columns of the matrix.
  package var columns: Int
  /// The plane's first column.
  package var firstColumn: Int
  /// A factor of each channel of the plane.
  package var scales: [Float]
  /// What is added in each channel of the plane.
  package var offsets: [Float]
  /// The step.
  package var step: Float

  /// Creates the basis of a plane.
  package init(
    classes: [UInt8], shift: UInt32 = 0, matrix: [Int16], columns: Int, firstColumn: Int,
    scales: [Float], offsets: [Float], step: Float
  ) {
    self.classes = classes
    self.shift = shift
    self.matrix = matrix
    self.columns = columns
    self.firstColumn = firstColumn
    self.scales = scales
    self.offsets = offsets
    self.step = step
  }
}
