import CacheFormat
import FileIO
import Model
import Patching
import Terminal

/// What `analyze trace --out` writes.
struct TraceFiles {
  let report: TraceReport
  /// So many facts have pictures of their own.
  let pictures: Int

  /// Writes `trace.json`, `trace.csv`, a picture of the averages a hook, and into `facts` an NPZ and a
  /// picture a fact and hook, each file whole or not at all.
  ///
  /// - Throws: `FileError`.
  func write(to directory: String) throws {
    try ResultsDirectory.write("trace.json", try report.json(), to: directory) {
      try writeTables(to: directory)
    }
  }

  private func writeTables(to directory: String) throws {
    try replaceFile("\(directory)/trace.csv", with: Array(csv().utf8))
    let folder = directory + "/facts"
    try ResultsDirectory.make(folder, for: "fact-000000.npz")
    for scores in report.scores {
      let name = scores.sweep.name
      try replaceFile("\(directory)/trace-\(name).svg", with: Array(averagePicture(scores).utf8))
      for fact in report.facts.indices {
        let digits = String(report.facts[fact].row)
        let number = String(repeating: "0", count: max(0, 6 - digits.count)) + digits
        let path = "\(folder)/fact-\(number)-\(name)"
        try replaceFile(path + ".npz", with: archive(scores, fact))
        if fact < pictures {
          try replaceFile(path + ".svg", with: Array(picture(scores, fact).utf8))
        }
      }
    }
  }

  /// The fields that ROME's causal_trace.py saves, under its names.
  private func archive(_ scores: TraceScores, _ number: Int) -> [UInt8] {
    let (fact, own) = (report.facts[number], scores.facts[number])
    let prompt = report.prompts[fact.prompt]
    var archive = NumPyArchive()
    archive.add(
      "scores",
      NumPyFile.bytes(
        own.scores.map { Float($0) }, shape: [own.length, scores.sweep.layers.count]))
    archive.add("low_score", NumPyFile.bytes([Float(own.low)], shape: []))
    archive.add("high_score", NumPyFile.bytes([Float(own.high)], shape: []))
    archive.add(
      "input_ids", NumPyFile.bytes(prompt.tokens.map { Int64($0) }, shape: [own.length]))
    archive.add("input_tokens", NumPyFile.bytes(prompt.pieces, shape: [own.length]))
    archive.add(
      "subject_range",
      NumPyFile.bytes(
        [Int64(fact.subject.lowerBound), Int64(fact.subject.upperBound)], shape: [2]))
    archive.add("answer", NumPyFile.bytes([fact.answerText], shape: []))
    archive.add("window", NumPyFile.bytes([Int64(scores.sweep.window)], shape: []))
    archive.add(
      "correct_prediction", NumPyFile.bytes([fact.answer == fact.predicted], shape: []))
    archive.add("kind", NumPyFile.bytes([kind(of: scores)], shape: []))
    return archive.bytes
  }

  /// What ROME calls a hook: nothing for whole layers.
  private func kind(of scores: TraceScores) -> String {
    switch scores.sweep.kind {
    case .mlpOut: "mlp"
    case .attnOut: "attn"
    case .residPost: ""
    default: scores.sweep.name
    }
  }

  private func csv() -> String {
    var text = "row,id,hook,window,layer,pos,token,class,score,effect,low_score,high_score\n"
    for scores in report.scores {
      for (fact, own) in zip(report.facts, scores.facts) {
        let pieces = report.prompts[fact.prompt].pieces
        for position in 0..<own.length {
          let classes = TokenClass.allCases.filter {
            $0.positions(of: fact.subject, length: own.length).contains(position)
          }
          let place = classes.map(\.rawValue).joined(separator: "+")
          for (index, layer) in scores.sweep.layers.enumerated() {
            let score = own.score(position: position, layer: index)
            text += "\(fact.row),\(csvText(fact.id ?? "")),\(scores.sweep.name),"
            text += "\(scores.sweep.window),\(layer),\(position),\(csvText(pieces[position])),"
            text += "\(place),\(score),\(score - own.low),\(own.low),\(own.high)\n"
          }
        }
      }
    }
    return text
  }

  private func averagePicture(_ scores: TraceScores) -> String {
    let title = "Average indirect effect of \(restored(scores))"
    return HeatmapSVG(
      report.averageGrid(of: scores), title: title,
      description: "A heatmap, layers by classes of tokens. \(identity)"
    ).file(heading: [title] + subheading)
  }

  private func picture(_ scores: TraceScores, _ number: Int) -> String {
    let (fact, own) = (report.facts[number], scores.facts[number])
    let title = "Restoring \(restored(scores)): fact \(fact.name)"
    return HeatmapSVG(
      report.grid(of: scores, fact: number), title: title,
      description: "A heatmap, layers by positions. \(identity)"
    ).file(
      heading: [
        title,
        "\(report.metric.rawValue) of \(tokenText(fact.answerText)): clean \(fixed(own.high, 4)), "
          + "with noise \(fixed(own.low, 4))",
      ] + subheading.suffix(1))
  }

  private func restored(_ scores: TraceScores) -> String {
    report.restored(scores.sweep)
      + (scores.sweep.window > 1 ? " in windows of \(scores.sweep.window) layers" : "")
  }

  private var subheading: [String] {
    [
      "\(report.metric.rawValue) of \(counted(report.facts.count, "fact"))",
      "\(counted(report.samples, "sample")) of noise, standard deviation "
        + "\(significant(report.noise.deviation, 4)), \(report.cache.plan.model.name)",
    ]
  }

  private var identity: String { "Cache plan \(report.cache.planDigest)." }
}
