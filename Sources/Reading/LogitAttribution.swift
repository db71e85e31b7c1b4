import CacheFormat
import Model
import Patching

/// Direct logit attribution: what each part of the model adds to a logit, or to the difference of two,
/// through the residual stream alone.
///
/// A part x counts x · d / s (`LogitDirection`) with the *cached* scale s of ln_final: TransformerLens's
/// `logit_attrs` of `decompose_resid`, `accumulated_resid`, `stack_head_results`,
/// `stack_neuron_results` and `get_full_resid_decomposition`. Heads and neurons are projected on d
/// before they are multiplied with their activations, z_h · (W_O[h] d) / s and a_n (W_out[n] · d) / s,
/// so that no array [T, M, D] is ever made.
///
/// Parts sum to the logit difference but for `constants`: what ln_final's bias and the unembedding's
/// add, which TransformerLens leaves out.
public struct LogitAttribution: Sendable {
  /// What the stream is split into.
  public enum Split: String, Sendable, CaseIterable {
    /// embed, pos_embed, 0_attn_out, 0_mlp_out, …: `decompose_resid`.
    case layer
    /// 0_pre, 0_mid, …, final_post: `accumulated_resid(incl_mid=True)`, each with the final scale.
    case accumulated
    /// L0H0, L0H1, … and `remainder`, all else: `stack_head_results(incl_remainder=True)`.
    case head
    /// L0N0, … and `remainder`: `stack_neuron_results(incl_remainder=True)`.
    case neuron
    /// Heads, neurons, embed, pos_embed and bias, the sum of all b_O and b_out:
    /// `get_full_resid_decomposition`.
    case full
    /// Heads, 0_mlp_out, …, embed, pos_embed and bias, the sum of all b_O:
    /// `get_full_resid_decomposition(expand_neurons=False)`.
    case fullMLP = "full-mlp"

    /// Whether the parts are so many that they are read at one place only.
    public var hasNeurons: Bool { self == .neuron || self == .full }
    var hasHeads: Bool { [.head, .full, .fullMLP].contains(self) }
    /// Whether the weights of blocks are needed, not those of the unembedding alone.
    public var needsBlocks: Bool { hasHeads || hasNeurons }
    var hasRemainder: Bool { self == .head || self == .neuron }
  }

  /// What a split of some prompts gave.
  public struct Result: Sendable {
    /// A part a row.
    public let parts: ReadingTable
    /// Rows `parts`, the sum of the parts (of `accumulated`: final_post); `constant`; and the target
    /// itself, read from the last stream.
    public let sums: ReadingTable
  }

  public let split: Split
  public let target: LogitTarget
  /// Columns.
  public let places: [Place]
  /// The names of the parts.
  public let labels: [String]
  let model: GPT2
  let hooks: ReadHooks
  /// W_O and W_out of each layer transposed, where the split needs them.
  let heads: [Linear]
  let neurons: [Linear]

  /// - Throws: `ReadingError.hooksNotCached`, `.onePlaceOnly`.
  public init(
    _ cache: CacheReader, model: GPT2, split: Split, target: LogitTarget, places: [Place]
  ) throws(ReadingError) {
    if split.hasNeurons, places.count > 1 { throw .onePlaceOnly(split.rawValue) }
    self.split = split
    self.target = target
    self.places = places
    self.model = model
    let layers = model.config.layers
    labels = split.labels(model.config)
    var needed = split.streams(layers: layers).map(\.hook)
    for layer in 0..<layers {
      if split.hasHeads { needed.append(HookPoint(.z, layer: layer)) }
      if split.hasNeurons { needed.append(HookPoint(.mlpPost, layer: layer)) }
    }
    needed += [ResidualStreams.last(layers: layers), HookPoint(.finalScale)]
    hooks = try ReadHooks(needed, in: cache)
    heads = split.hasHeads ? model.blocks.map { $0.output.transposed() } : []
    neurons = split.hasNeurons ? model.blocks.map { $0.mlpOut.transposed() } : []
  }

  /// Splits prompts and takes the means. At a place of several positions a prompt's value is the mean
  /// over them.
  ///
  /// - Parameter keepsValues: whether the tables have the values of each prompt.
  /// - Throws: `CacheError`, `PassError.tooLong`.
  /// - Precondition: the pairs have the answers that the target reads, of tokens in the vocabulary.
  public func run(
    _ prompts: [ReadPrompt], keepsValues: Bool = false, threads: Int,
    progress: (Int) -> Void = { _ in }
  ) throws -> Result {
    let sumRows = ["parts", "constant", target.rawValue]
    try model.checkLengths(of: prompts)
    // The sums stand behind the parts until the tables are made.
    let table = try readTables(
      [target.rawValue], rows: labels + sumRows, columns: places.map(\.description),
      prompts: prompts.count, keepsValues: keepsValues, threads: threads,
      with: { AttributionWorker(self) }, progress: progress
    ) { range, worker in
      try worker.read(prompts[range])
    }[0]
    return Result(
      parts: table.part(rows: 0..<labels.count),
      sums: table.part(rows: labels.count..<labels.count + sumRows.count))
  }
}

extension LogitAttribution.Split {
  /// The names of the parts.
  fileprivate func labels(_ config: ModelConfig) -> [String] {
    let streams = streams(layers: config.layers).map(\.label)
    func units(_ letter: String, _ count: Int) -> [String] {
      (0..<config.layers).flatMap { layer in (0..<count).map { "L\(layer)\(letter)\($0)" } }
    }
    switch self {
    case .layer, .accumulated: return streams
    case .head: return units("H", config.heads) + ["remainder"]
    case .neuron: return units("N", config.mlpWidth) + ["remainder"]
    case .full:
      return units("H", config.heads) + units("N", config.mlpWidth) + streams + ["bias"]
    case .fullMLP: return units("H", config.heads) + streams + ["bias"]
    }
  }

  /// The parts that are rows of the stream's width, in the order in which they are read.
  func streams(layers: Int) -> [(label: String, hook: HookPoint)] {
    let embeddings = [
      ("embed", HookPoint(.embed)), ("pos_embed", HookPoint(.posEmbed)),
    ]
    func mlp(_ layer: Int) -> (String, HookPoint) {
      ("\(layer)_mlp_out", HookPoint(.mlpOut, layer: layer))
    }
    switch self {
    case .layer:
      return embeddings
        + (0..<layers).flatMap { layer in
          [("\(layer)_attn_out", HookPoint(.attnOut, layer: layer)), mlp(layer)]
        }
    case .accumulated:
      return Array(
        zip(ResidualStreams.labels(layers: layers), ResidualStreams.hooks(layers: layers)))
    case .head, .neuron: return []
    case .full: return embeddings
    case .fullMLP: return (0..<layers).map(mlp) + embeddings
    }
  }
}

extension ReadingTable {
  /// Some of the rows.
  fileprivate func part(rows range: Range<Int>) -> ReadingTable {
    let width = columns.count
    let cells = range.lowerBound * width..<range.upperBound * width
    let all = rows.count * width
    return ReadingTable(
      quantity: quantity, rows: Array(rows[range]), columns: columns, counts: counts,
      means: Array(means[cells]), standardErrors: Array(standardErrors[cells]),
      values: stride(from: 0, to: values.count, by: max(1, all)).flatMap {
        values[$0 + cells.lowerBound..<$0 + cells.upperBound]
      }, seconds: seconds)
  }
}
