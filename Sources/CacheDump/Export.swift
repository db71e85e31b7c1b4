import ArgumentParser
import CacheFormat
import FileIO
import Terminal

extension CacheExport.Format: ExpressibleByArgument {}

/// `cachedump export`
struct Export: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write arrays as files that Python reads.",
    discussion: """
      Keys are hook names, shapes are TransformerLens's without the batch axis, values are \
      float32. With --prompt, safetensors is one file PATH and npy a directory PATH of NAME.npy. \
      Without it PATH is a directory with prompt-000000.safetensors or prompt-000000/, and so on.
      """)

  @OptionGroup var cache: CacheArgument

  @Option(name: .shortAndLong, parsing: .unconditional, help: "Only this prompt.")
  var prompt: Int?

  @Option(help: "Full names, globs or short names, separated by commas; all by default.")
  var hooks: String?

  @Option(help: "safetensors or npy.")
  var format: CacheExport.Format = .safetensors

  @Option(name: .shortAndLong, help: "Where to write.")
  var out: String

  @Flag(help: "Replace files that are there already.")
  var force = false

  @Flag(help: "Show no progress.")
  var quiet = false

  func run() throws {
    let reader = try cache.open()
    try requireFree()
    let export = CacheExport(
      reader: reader, format: format, hooks: try reader.hooks(matching: hooks.map { [$0] } ?? []))
    if let prompt { return try export.write(prompt: prompt, to: out) }
    var progress = Progress(
      "exporting", unit: "prompts", total: reader.committedPrompts, quiet: quiet)
    try export.writeAll(to: out) { progress.update(done: $0) }
  }

  /// Sees that nothing is replaced that is not meant to be, and no file is put into a cache.
  private func requireFree() throws {
    try CacheReader.requireNoCache(in: out)
    guard prompt != nil, format == .safetensors else {
      let names = (try? SystemCalls().list(out)) ?? []
      guard force || names.isEmpty else { throw ExportExists(path: out) }
      return
    }
    try CacheReader.requireNoCache(in: directory(of: out))
    guard isTaken(out), !isDirectory(out) else { return }
    guard force, isPlainFile(out) else {
      throw ExportExists(path: out, isPlainFile: isPlainFile(out))
    }
  }
}

/// A place that is taken.
private struct ExportExists: ReportableError {
  let path: String
  var isPlainFile = true

  var description: String {
    isPlainFile
      ? "\(path) is there already; give --force to replace it, or another --out"
      : "\(path) is there and is not a plain file; give another --out"
  }
  var exitCode: SysExit { .cannotCreate }
}
