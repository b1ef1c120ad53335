internal import Glibc

extension LinearAlgebra {
  /// The routines as Fortran exports them; the numbers at the end are lengths of its strings.
  ///
  /// Sources: LAPACK 3.12, `ssyrk.f`, `sgemm.f`, `ssyevd.f`, `sgeqrf.f`, `sorgqr.f`.
  @unsafe struct Routines: Sendable {
    typealias Text = UnsafePointer<CChar>
    typealias Number = UnsafePointer<Int32>
    typealias Room = UnsafeMutablePointer<Float>
    typealias Values = UnsafePointer<Float>
    typealias Status = UnsafeMutablePointer<Int32>

    /// `ssyrk_`.
    typealias RankUpdate =
      @convention(c) @Sendable (
        Text, Text, Number, Number, Values, Values, Number, Values, Room, Number, Int, Int
      ) -> Void
    /// `sgemm_`.
    typealias Multiply =
      @convention(c) @Sendable (
        Text, Text, Number, Number, Number, Values, Values, Number, Values, Number, Values, Room,
        Number, Int, Int
      ) -> Void
    /// `ssyevd_`.
    typealias Solve =
      @convention(c) @Sendable (
        Text, Text, Number, Room, Number, Room, Room, Number, Status, Number, Status, Int, Int
      ) -> Void
    /// `sgeqrf_`.
    typealias Triangulate =
      @convention(c) @Sendable (
        Number, Number, Room, Number, Room, Room, Number, Status
      ) -> Void
    /// `sorgqr_`.
    typealias Rebuild =
      @convention(c) @Sendable (
        Number, Number, Number, Room, Number, Values, Room, Number, Status
      ) -> Void
    /// `openblas_set_num_threads`, which only OpenBLAS has.
    typealias SetThreads = @convention(c) @Sendable (Int32) -> Void

    let rankUpdate: RankUpdate
    let multiply: Multiply
    let solve: Solve
    let triangulate: Triangulate
    let rebuild: Rebuild
    let setThreads: SetThreads?

    /// Opens all of `names`, never to be closed again; nil if a file or a routine is missing.
    init?(_ names: [String]) {
      var handles: [UnsafeMutableRawPointer] = unsafe []
      for name in names {
        guard let handle = unsafe dlopen(name, RTLD_NOW | RTLD_LOCAL) else { return nil }
        unsafe handles.append(handle)
      }
      guard let rankUpdate = unsafe Self.find("ssyrk_", handles, as: RankUpdate.self),
        let multiply = unsafe Self.find("sgemm_", handles, as: Multiply.self),
        let solve = unsafe Self.find("ssyevd_", handles, as: Solve.self),
        let triangulate = unsafe Self.find("sgeqrf_", handles, as: Triangulate.self),
        let rebuild = unsafe Self.find("sorgqr_", handles, as: Rebuild.self)
      else { return nil }
      unsafe self.rankUpdate = rankUpdate
      unsafe self.multiply = multiply
      unsafe self.solve = solve
      unsafe self.triangulate = triangulate
      unsafe self.rebuild = rebuild
      unsafe setThreads = Self.find("openblas_set_num_threads", handles, as: SetThreads.self)
    }

    private static func find<Function>(
      _ name: String, _ handles: [UnsafeMutableRawPointer], as type: Function.Type
    ) -> Function? {
      for index in unsafe handles.indices {
        guard let symbol = unsafe dlsym(handles[index], name) else { continue }
        // Safe because: the type is the routine's, as its source above declares it.
        return unsafe unsafeBitCast(symbol, to: Function.self)
      }
      return nil
    }
  }
}
