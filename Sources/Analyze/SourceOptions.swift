import ArgumentParser
import Patching

/// What is put in the place of activations, where it may be something else than the other run's.
struct SourceOptions: ParsableArguments {
  enum Name: String, ExpressibleByArgument, CaseIterable {
    case other, zero, mean
    case meanByPosition = "mean-pos"
    case meanByTemplate = "mean-template"
    case noise
  }

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Whose mean it is: that of the clean or of the corrupted prompts.", valueName: "which"))
  var meanOver: MeanPrompts?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Standard deviation of noise, in units of the hook's own over all prompts; 3 if not given.",
      valueName: "scale"))
  var noiseScale: Float?

  func validate() throws {
    guard noiseScale.map({ $0.isFinite && $0 >= 0 }) ?? true else {
      throw ValidationError("--noise-scale must be a number from 0 on.")
    }
  }

  /// - Parameter usual: the prompts of means unless the user says which.
  func source(_ name: Name, seed: UInt64, meanOver usual: MeanPrompts) throws -> PatchSource {
    guard noiseScale == nil || name == .noise else {
      throw ValidationError("--noise-scale belongs to noise; --source is \(name.rawValue).")
    }
    return try name.source(
      meanOver: meanOver, usual, noise: .noise(scale: noiseScale ?? 3, seed: seed))
  }
}

extension SourceOptions.Name {
  /// - Parameters:
  ///   - meanOver: the prompts of means, if the user said which.
  ///   - usual: those that they are otherwise.
  /// - Throws: `ValidationError` if it is said whose mean is taken, and none is.
  func source(meanOver: MeanPrompts?, _ usual: MeanPrompts, noise: PatchSource) throws
    -> PatchSource
  {
    let over = meanOver ?? usual
    let source: PatchSource =
      switch self {
      case .other: .otherRun
      case .zero: .zero
      case .mean: .mean(.everywhere, over: over)
      case .meanByPosition: .mean(.byPosition, over: over)
      case .meanByTemplate: .mean(.byTemplate, over: over)
      case .noise: noise
      }
    if meanOver != nil {
      guard case .mean = source else {
        throw ValidationError("--mean-over belongs to the means; --source is \(rawValue).")
      }
    }
    return source
  }
}

extension MeanPrompts: ExpressibleByArgument {}
