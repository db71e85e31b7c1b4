/// The sentence that says which hooks a cache lacks, and how it comes to have them.
///
/// - Parameters:
///   - names: full names, at least one.
///   - user: what needs them, such as "this sweep".
package func missingHooks(_ names: [String], in directory: String, for user: String) -> String {
  var requested: [String] = []
  for kind in names.compactMap(HookPoint.init(name:)).map(\.kind)
  where !kind.isDefault && !requested.contains(kind.shortName) {
    requested.append(kind.shortName)
  }
  let hooks = names.count == 1 ? "that hook" : "those hooks"
  return "the cache \(directory) does not hold \(names.prefix(4).joined(separator: ", "))"
    + (names.count > 4 ? " and \(names.count - 4) more" : "")
    + ", which \(user) needs; capture the prompts again "
    + (requested.isEmpty
      ? "without --hooks, or with \(hooks) among them"
      : "with --hooks '*,\(requested.joined(separator: ","))': not all hooks are captured unasked")
}
