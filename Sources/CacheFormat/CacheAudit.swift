/// Arrays of a cache held against arrays that a model computed anew.
///
/// Where the model computes with the kernels that it had at capture, values must have the same bits:
/// those of rounded caches after rounding. Two things can only be held within a bound: arrays that
/// are derived from rounded ones, by the largest error that was recorded at capture, and everything
/// where the kernels are others.
public struct CacheAudit: Encodable, Sendable {
  /// With other kernels, by how much a value may differ, in units of the array's root mean square.
  public static let tolerance = 1e-3

  /// An array that is not what the model computes.
  public struct Failure: Encodable, Sendable, Equatable {
    public var hook: String
    public var prompt: Int
  }

  /// Whether the kernels are those of the capture.
  public let hasSameKernels: Bool
  public private(set) var hooks: [HookDifference]
  /// The hooks added up by kind.
  public var kinds: [HookDifference] { addedUpByKind(hooks) }
  public private(set) var failedArrays = 0
  public private(set) var firstFailure: Failure?
  /// Arrays derived from rounded ones whose largest error is not known, so that only their checksum
  /// vouches for them.
  public private(set) var unjudgedArrays = 0
  private let plan: CachePlan

  private enum CodingKeys: String, CodingKey {
    case hooks, failedArrays, firstFailure, unjudgedArrays
  }

  public init(of reader: CacheReader, hasSameKernels: Bool) {
    plan = reader.plan
    self.hasSameKernels = hasSameKernels
    hooks = plan.hooks.map { HookDifference($0) }
  }

  public var arrays: Int { hooks.reduce(0) { $0 + $1.arrays } }
  public var unequalArrays: Int { hooks.reduce(0) { $0 + $1.unequalArrays } }
  public var largestOfRMS: Double { hooks.compactMap(\.largestOfRMS).max() ?? 0 }

  /// Takes in the result for one array.
  public mutating func add(_ array: AuditedArray) {
    hooks[array.hook].add(
      array.difference, prompts: (array.prompt, array.prompt), dimensions: array.dimensions)
    switch array.verdict {
    case .sound: break
    case .unjudged: unjudgedArrays += 1
    case .failed:
      failedArrays += 1
      firstFailure =
        firstFailure ?? Failure(hook: plan.hooks[array.hook].name, prompt: array.prompt)
    }
  }
}

/// One array of a cache, held against the same array computed anew.
public struct AuditedArray: Sendable {
  enum Verdict: Sendable { case sound, failed, unjudged }

  let hook: Int
  let prompt: Int
  let dimensions: [Int]
  let difference: ArrayDifference
  let verdict: Verdict
}

extension CacheReader {
  /// Holds an array of this cache against the same one computed anew.
  ///
  /// - Parameters:
  ///   - computed: in row-major order, for the prompt's tokens.
  ///   - hasSameKernels: whether it was computed with the kernels of the capture.
  public func audit(
    hook: Int, prompt: Int, computed: UnsafeBufferPointer<Float>, hasSameKernels: Bool
  ) throws(CacheError) -> AuditedArray {
    let spec = plan.hooks[hook]
    let T = try positions(prompt: prompt)
    let isRounded = plan.elementType != .f32
    let isDerived = try encoding(hook: hook, prompt: prompt) == nil
    let worst = isRounded ? manifest.hooks[hook].worst.map(Double.init) : 0
    let mustBeEqual = hasSameKernels && !(isRounded && isDerived)
    let expected = mustBeEqual && isRounded ? rounded(computed) : Array(computed)
    let difference = try withValues(hook: hook, prompt: prompt) { values in
      values.count == expected.count
        ? expected.withUnsafeBufferPointer { ArrayDifference(values, $0) } : nil
    }
    guard let difference else {
      throw .wrongCount(
        hook: spec.name, prompt: prompt, expected: spec.count(positions: T) ?? 0,
        given: computed.count)
    }
    let verdict: AuditedArray.Verdict
    if difference.unequal == 0 {
      verdict = .sound
    } else if mustBeEqual || difference.incomparable > 0 {
      verdict = .failed
    } else if let worst {
      let rms = (difference.squares / Double(max(1, difference.finite))).squareRoot()
      let bound = worst + (hasSameKernels ? 0 : CacheAudit.tolerance * rms)
      verdict = difference.largest ?? 0 <= bound ? .sound : .failed
    } else {
      verdict = .unjudged
    }
    return AuditedArray(
      hook: hook, prompt: prompt, dimensions: spec.dimensions(positions: T),
      difference: difference, verdict: verdict)
  }

  /// Values as a reader of this cache will have them.
  private func rounded(_ values: UnsafeBufferPointer<Float>) -> [Float] {
    let type = plan.elementType
    let elements = ByteBuffer(capacity: values.count * type.size)
    type.narrow(values, to: elements.base)
    return [Float](unsafeUninitializedCapacity: values.count) { buffer, initialized in
      if let base = buffer.baseAddress { type.widen(elements.base, to: base, count: values.count) }
      initialized = values.count
    }
  }
}
