/// Pages and the parts that they are made of.

/// A page that needs nothing else: its policy forbids the network.
///
/// - Parameters:
///   - title: text.
///   - style: CSS.
///   - body: markup.
///   - hasScript: whether a script in the body may run.
func pageDocument(title: String, style: String, body: String, hasScript: Bool) -> String {
  """
  <!DOCTYPE html>
  <html lang="en">
  <head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
  style-src 'unsafe-inline'\(hasScript ? "; script-src 'unsafe-inline'" : "")">
  <title>\(escaped(title))</title>
  <style>
  \(style)</style>
  </head>
  <body>
  \(body)</body>
  </html>

  """
}

/// A table whose first column names its rows.
///
/// - Parameters:
///   - rows: texts, not yet escaped; as many as `head` has.
///   - strong: rows and columns of cells to be set in bold.
func pageTable(
  _ caption: String, _ head: [String], _ rows: [[String]],
  strong: (Int, Int) -> Bool = { _, _ in false }
) -> String {
  let titles = head.map { "<th scope=\"col\">\(escaped($0))</th>" }.joined()
  let lines = rows.enumerated().map { row, fields in
    let cells = fields.enumerated().map { column, field in
      let text = strong(row, column) ? "<b>\(escaped(field))</b>" : escaped(field)
      return column == 0 ? "<th scope=\"row\">\(text)</th>" : "<td>\(text)</td>"
    }
    return "<tr>\(cells.joined())</tr>\n"
  }
  return """
    <div class="scroll"><table>
    <caption>\(escaped(caption))</caption>
    <thead><tr>\(titles)</tr></thead>
    <tbody>
    \(lines.joined())</tbody>
    </table></div>

    """
}

/// The same behind its caption, if it has more than a number of rows.
func foldedTable(
  _ caption: String, _ head: [String], _ rows: [[String]], beyond most: Int = 12
) -> String {
  guard rows.count > most else { return pageTable(caption, head, rows) }
  return "<details><summary>\(escaped(caption)): \(rows.count) rows</summary>\n"
    + pageTable(caption, head, rows) + "</details>\n"
}

/// Names with a number or text each, side by side.
func pageTiles(_ tiles: [(name: String, value: String)]) -> String {
  let items = tiles.map {
    "<div><dt>\(escaped($0.name))</dt><dd>\(escaped($0.value))</dd></div>\n"
  }
  return "<dl class=\"baselines\">\n\(items.joined())</dl>\n"
}

/// Names with a longer text each, one below the other.
func pageFacts(_ facts: [(name: String, value: String)]) -> String {
  let rows = facts.map {
    "<div><dt>\(escaped($0.name))</dt><dd>\(escaped($0.value))</dd></div>\n"
  }
  return "<dl class=\"origin\">\n\(rows.joined())</dl>\n"
}

/// Parts side by side, where there is room for it.
func pageParts(_ parts: [String]) -> String {
  let items = parts.filter { !$0.isEmpty }.map { "<div class=\"part\">\n\($0)</div>\n" }
  guard !items.isEmpty else { return "" }
  return "<div class=\"parts\">\n\(items.joined())</div>\n"
}

/// A title inside a part.
///
/// - Parameter note: in a few words, behind it.
func pageTitle(_ title: String, _ note: String = "") -> String {
  "<h3>\(escaped(title))\(note.isEmpty ? "" : " <span>\(escaped(note))</span>")</h3>\n"
}

/// A sentence or two.
func pageText(_ text: String) -> String { "<p class=\"reading\">\(escaped(text))</p>\n" }

/// A picture, with room to scroll where it is wide, and what stands under it.
///
/// - Parameter caption: markup.
func pageFigure(_ svg: String, caption: String = "") -> String {
  "<figure>\n<div class=\"scroll\">\n\(svg)</div>\n"
    + (caption.isEmpty ? "" : "<figcaption>\(caption)</figcaption>\n") + "</figure>\n"
}

/// Command lines to be copied.
func pageCommands(_ commands: [[String]]) -> String {
  guard !commands.isEmpty else { return "" }
  let lines = commands.map { escaped($0.map(shellWord).joined(separator: " ")) }
  return "<div class=\"command\"><p>This part alone</p>\n"
    + "<pre><code>\(lines.joined(separator: "\n"))</code></pre></div>\n"
}

/// What is to be known besides.
func pageNotes(_ notes: [String]) -> String {
  notes.isEmpty
    ? "" : "<ul class=\"notes\">\n\(notes.map { "<li>\(escaped($0))</li>\n" }.joined())</ul>\n"
}
