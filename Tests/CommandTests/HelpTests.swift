import Testing

@Suite struct HelpTests {
  @Test(arguments: [
    (Program.capture, [String]()), (.analyze, []), (.analyze, ["patch"]), (.analyze, ["hooks"]),
    (.analyze, ["path"]), (.analyze, ["circuit"]), (.analyze, ["scores"]),
    (.analyze, ["tokens"]), (.analyze, ["audit"]), (.analyze, ["results"]),
    (.analyze, ["task"]), (.analyze, ["task", "ioi"]), (.analyze, ["task", "greater-than"]),
    (.analyze, ["task", "docstring"]), (.analyze, ["task", "induction"]),
    (.analyze, ["task", "facts"]), (.cachedump, []),
    (.analyze, ["lens"]), (.analyze, ["attribution"]), (.analyze, ["attention"]),
    (.analyze, ["stats"]), (.analyze, ["report"]),
    (.cachedump, ["ls"]),
    (.cachedump, ["show"]),
    (.cachedump, ["export"]), (.cachedump, ["verify"]), (.cachedump, ["summary"]),
    (.cachedump, ["stats"]), (.cachedump, ["diff"]), (.cachedump, ["repair"]),
  ])
  func everyCommandExplainsItself(program: Program, command: [String]) throws {
    let answer = try program.run(command + ["--help"])
    #expect(answer.status == 0)
    #expect(answer.errors == "")
    #expect(answer.output.hasPrefix("OVERVIEW: "))
    #expect(answer.output.contains("USAGE: \(program.rawValue)"))
    // Every option says what it is for.
    let bare = answer.lines.filter { line in
      line.hasPrefix("  --") && !line.dropFirst(2).contains("  ") && line.count < 24
    }
    #expect(bare.isEmpty, "without a help text: \(bare)")
  }

  @Test(arguments: Program.allCases)
  func everyProgramSaysItsVersion(program: Program) throws {
    let answer = try program.run(["--version"])
    #expect(answer.status == 0)
    #expect(answer.output.hasPrefix("patchbay "))
    #expect(answer.lines.count == 1)
  }

  @Test(arguments: [
    (Program.capture, [String](), "--prompts"),
    (.capture, ["--prompts", "p.txt"], "--out"),
    (.capture, ["--prompts", "p.txt", "--out", "o", "--bogus"], "--bogus"),
    (.capture, ["--prompts", "p.txt", "--out", "o", "--dtype", "f64"], "f64"),
    (.capture, ["--prompts", "p.txt", "--out", "o", "--threads", "0"], "--threads"),
    (.capture, ["--prompts", "p.txt", "--out", "o", "--weights", "tl"], "tl"),
    (
      .capture, ["--prompts", "p.txt", "--out", "o", "--refactor", "--weights", "raw"], "--refactor"
    ),
    (.analyze, ["patch"], "--cache"),
    (.analyze, ["patch", "--cache", "c"], "--hooks"),
    (.analyze, ["patch", "--cache", "c", "--hooks", "z", "--by", "layer"], "head-pos"),
    (.analyze, ["patch", "--cache", "c", "--hooks", "z", "--direction", "up"], "denoise"),
    (.analyze, ["patch", "--cache", "c", "--hooks", "z", "--metric", "foo"], "logit-diff"),
    (.analyze, ["patch", "--cache", "c", "--hooks", "z", "--top", "-1"], "--top"),
    (.analyze, ["patch", "--cache", "c", "--hooks", "z", "--threads", "0"], "--threads"),
    (.analyze, ["patch", "--cache", "c", "--hooks", "z", "--cells", "x.csv"], "not both"),
    (.analyze, ["patch", "--cache", "c", "--cells", "x.csv", "--by", "pos"], "leave out --by"),
    (.analyze, ["patch", "--cache", "c", "--hooks", "z", "--by", "cell"], "head-pos"),
    (.analyze, ["patch", "--cache", "c", "--hooks", "z", "--direction", "ablate"], "denoise"),
    (.analyze, ["patch", "--cache", "c", "--hooks", "z", "--mean-over", "clean"], "--mean-over"),
    (.analyze, ["ablate", "--cache", "c", "--hooks", "z", "--source", "other"], "no other run"),
    (
      .analyze, ["ablate", "--cache", "c", "--hooks", "z", "--noise-scale", "nan"], "--noise-scale"
    ),
    (.analyze, ["patch", "--cache", "c", "--hooks", "z", "--fdr", "holm"], "by"),
    (.analyze, ["trace", "--cache", "c", "--metric", "logit-diff"], "logprob"),
    (.analyze, ["path", "--cache", "c"], "where the paths end"),
    (.analyze, ["path", "--cache", "c", "--to", "end"], "logits"),
    (.analyze, ["path", "--cache", "c", "--to", "logits", "--input", "q"], "not both"),
    (.analyze, ["path", "--cache", "c", "--input", "q"], "--receivers"),
    (.analyze, ["path", "--cache", "c", "--input", "z", "--receivers", "1.0"], "q, k and v"),
    (.analyze, ["path", "--cache", "c", "--input", "q,q", "--receivers", "1.0"], "twice"),
    (.analyze, ["path", "--cache", "c", "--input", "q", "--receivers", "1.0,1.0"], "twice"),
    (.analyze, ["path", "--cache", "c", "--input", "q", "--receivers", "1.-1"], "no head"),
    (.analyze, ["path", "--cache", "c", "--input", "q", "--receivers", ""], "no head"),
    (.analyze, ["path", "--cache", "c", "--to", "logits", "--senders", "9"], "no head"),
    (.analyze, ["path", "--cache", "c", "--to", "logits", "--paths", "all"], "direct"),
    (.analyze, ["circuit", "--cache", "c"], "--circuit"),
    (.analyze, ["circuit", "--cache", "c", "--circuit", "f", "--source", "noise"], "noise"),
    (.analyze, ["circuit", "--cache", "c", "--circuit", "f", "--metric", "kl,rank"], "one metric"),
    (.analyze, ["circuit", "--cache", "c", "--circuit", "f", "--greedy", "-1"], "--greedy"),
    (.analyze, ["circuit", "--cache", "c", "--circuit", "f", "--without", "a"], "no head"),
    (.analyze, ["scores"], "--model or --cache"),
    (.analyze, ["scores", "--model", "m", "--largest", "0"], "--largest"),
    (.analyze, ["results"], "directory"),
    (.analyze, ["results", "a", "--top", "-1"], "--top"),
    (.analyze, ["results", "a", "--sort", "size"], "patched"),
    (.analyze, ["results", "a", "--sort", "difference"], "two results"),
    (.analyze, ["results", "a", "--layer", "3-1"], "--layer"),
    (.analyze, ["results", "a", "--head", "1,,2"], "--head"),
    (.analyze, ["results", "a", "--pos", "99999999999999999999"], "--pos"),
    (.analyze, ["results", "a", "--min-effect", "nan"], "--min-effect"),
    (.analyze, ["results", "a", "--max-q", "1.5"], "--max-q"),
    (.analyze, ["results", "a", "--json", "--csv"], "--csv"),
    (.analyze, ["lens"], "--cache"),
    (.analyze, ["lens", "--cache", "c", "--metric", "foo"], "logit-diff"),
    (.analyze, ["lens", "--cache", "c", "--pos", "1,,2"], "--pos"),
    (.analyze, ["lens", "--cache", "c", "--top", "3"], "--prompt"),
    (.analyze, ["lens", "--cache", "c", "--prompt", "0", "--metric", "prob"], "--metric"),
    (.analyze, ["lens", "--cache", "c", "--prompt", "0", "--run", "clean"], "--run"),
    (.analyze, ["attribution", "--cache", "c", "--by", "token"], "full-mlp"),
    (.analyze, ["attention", "--cache", "c", "--from", "END"], "--to"),
    (.analyze, ["attention", "--cache", "c", "--heads", "9.9"], "--prompt"),
    (.analyze, ["attention", "--cache", "c", "--heads", "9", "--prompt", "0"], "--heads"),
    (.analyze, ["stats", "--cache", "c", "--hooks", "z", "--pca", "-1"], "--pca"),
    (.analyze, ["report", "--cache", "c"], "--out"),
    (.analyze, ["report", "--cache", "c", "--out", "o", "--top", "0"], "--top"),
    (.analyze, ["report", "--cache", "c", "--out", "o", "--metric", "foo"], "logit-diff"),
    (.analyze, ["audit"], "--cache"),
    (.analyze, ["audit", "--cache", "c", "--sample", "0"], "--sample"),
    (.analyze, ["audit", "--cache", "c", "--seed", "-1"], "--seed"),
    (.analyze, ["task", "bogus"], "bogus"),
    (.analyze, ["task", "ioi", "--count", "0"], "--count"),
    (.analyze, ["task", "ioi", "--seed", "-1"], "--seed"),
    (.analyze, ["task", "ioi", "--out", "x.json"], ".jsonl or .txt"),
    (.analyze, ["task", "ioi", "--force"], "--out"),
    (.analyze, ["task", "ioi", "--templates", "1,"], "--templates"),
    (.analyze, ["task", "ioi", "--templates", ""], "--templates"),
    (.analyze, ["task", "ioi", "--preset", "arena", "--count", "3"], "--preset"),
    (.analyze, ["task", "ioi", "--template-order", "bab"], "baba"),
    (.analyze, ["task", "docstring", "--corrupt", "all"], "doc"),
    (.analyze, ["task", "facts"], "--csv"),
    (.analyze, ["bogus"], "bogus"),
    (.analyze, ["tokens", "--jsonl", "text"], "--jsonl"),
    (.cachedump, [], "directory"),
    (.cachedump, ["show", "c"], "--prompt"),
    (.cachedump, ["export", "c", "--out", "o", "--format", "tar"], "safetensors"),
    (.cachedump, ["stats", "c", "--prompts", "3-1"], "--prompts"),
    (.cachedump, ["stats", "c", "--prompts", "1-2-3"], "--prompts"),
    (.cachedump, ["stats", "c", "--prompts", "-1"], "--prompts"),
    (.cachedump, ["stats", "c", "--prompts", "9223372036854775807"], "--prompts"),
    (.cachedump, ["stats", "c", "--threads", "0"], "--threads"),
    (.cachedump, ["verify", "c", "--io", "mmap"], "pread"),
    (.cachedump, ["diff", "c"], "<b>"),
    (.cachedump, ["diff", "c", "d", "--threads", "0"], "--threads"),
  ])
  func wrongArgumentsAreNamed(program: Program, arguments: [String], word: String) throws {
    let answer = try program.run(arguments)
    #expect(answer.status == 64, "\(answer)")
    #expect(answer.output == "")
    #expect(answer.errors.contains(word), "\(answer)")
  }

  @Test func aFullDiskUnderTheOutputIsAnError() throws {
    let shared = try SharedCache.made()
    for (program, arguments) in [
      (Program.cachedump, [shared.path]), (.cachedump, ["ls", "--json", shared.path]),
      (.analyze, ["hooks"]),
      (.analyze, ["patch", "--cache", shared.path, "--hooks", "z", "--json"]),
    ] {
      let answer = try program.run(arguments, output: "/dev/full")
      #expect(answer.status == 74, "\(answer)")
      #expect(answer.sentence.contains("cannot write standard output"), "\(answer)")
    }
  }
}
