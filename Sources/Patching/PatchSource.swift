import CacheFormat
import Model

/// What a patch puts into the receiving run.
public enum PatchSource: Sendable, Equatable {
  /// The activations of the pair's other run.
  case otherRun
  /// Zeros.
  case zero
  /// The mean of a hook over prompts, each counted once.
  case mean(MeanGrouping, over: MeanPrompts)
  /// What is there, plus independent normal noise whose standard deviation is `scale` times that of the
  /// hook's values over all receiving runs. Every cell of a sweep gets the same noise (Meng et al. 2022
  /// noise embeddings with a scale of 3).
  case noise(scale: Float, seed: UInt64)

  public var name: String {
    switch self {
    case .otherRun: "other"
    case .zero: "zero"
    case .mean(let grouping, _): grouping.rawValue
    case .noise: "noise"
    }
  }
}

/// What a mean is taken over.
public enum MeanGrouping: String, Sendable {
  /// All positions of all prompts.
  case everywhere = "mean"
  /// Each position by itself, over the prompts that have as many positions.
  case byPosition = "mean-pos"
  /// Each position by itself, over the prompts that have the same template and as many positions.
  case byTemplate = "mean-template"
}

/// Which prompts of the pairs a mean is taken over.
public enum MeanPrompts: String, Sendable, CaseIterable {
  case clean, corrupted

  func prompt(of pair: PatchingPair) -> Int {
    switch self {
    case .clean: pair.clean
    case .corrupted: pair.corrupted
    }
  }
}

/// Where the values of a sweep's patches come from.
enum SourceValues: Sendable {
  case otherRun
  case zero
  case means(MeanActivations)
  case noise(NoiseActivations)

  var isOtherRun: Bool {
    if case .otherRun = self { true } else { false }
  }

  /// Whether the values are added to what is there.
  var isAdded: Bool {
    if case .noise = self { true } else { false }
  }

  /// What puts them in a part of the receiving run, or holds that part where it is to be held.
  func edit(_ site: Site, _ runs: PairRuns) throws -> Edit {
    if site.isHeld {
      return Edit(site: site, values: try runs.array(.receiving, site.hook), isOfSource: false)
    }
    return Edit(
      site: site, values: try array(site.hook, runs), isOfSource: isOtherRun, adds: isAdded)
  }

  /// The values for a hook of a pair, in the hook's shape for its T positions.
  func array(_ hook: HookPoint, _ runs: PairRuns) throws -> Matrix {
    switch self {
    case .otherRun: try runs.array(.source, hook)
    case .means(let means): means.array(hook, length: runs.length, template: runs.template)
    case .zero, .noise:
      runs.made(hook) {
        made(hook, prompt: runs.prompts.receiving, length: runs.length, config: runs.config)
      }
    }
  }

  /// The same without the cache's arrays of the pair: nil for the other run's.
  func array(
    _ hook: HookPoint, of pair: PatchingPair, receiving prompt: Int, length: Int,
    config: ModelConfig
  ) -> Matrix? {
    switch self {
    case .otherRun: nil
    case .means(let means): means.array(hook, length: length, template: pair.template)
    case .zero, .noise: made(hook, prompt: prompt, length: length, config: config)
    }
  }

  private func made(
    _ hook: HookPoint, prompt: Int, length: Int, config: ModelConfig
  ) -> Matrix {
    if case .noise(let noise) = self { return noise.array(hook, prompt: prompt, length: length) }
    return Matrix(rows: 1, columns: config.valueCount(of: hook.kind, positions: length))
  }
}
