/// What the style sheet of `ReportPage` has besides `PageAssets.style`.
enum ReportAssets {
  static let style = #"""
    body{max-width:1440px}
    h3{font-size:15px;margin:20px 0 6px}
    h3 span{font-weight:400;color:var(--faint)}
    section{border-top:1px solid var(--line);margin-top:32px}
    section h2{margin-top:20px}
    nav{margin:16px 0 0}
    nav ol{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0;padding:0;list-style:none;counter-reset:part}
    nav li{counter-increment:part}
    nav li::before{content:counter(part) " ";color:var(--faint)}
    a{color:var(--link)}
    .parts{display:flex;flex-wrap:wrap;gap:8px 36px;align-items:flex-start}
    .part{max-width:100%}
    .part figcaption,.part .notes,.part h3{width:0;min-width:100%}
    .tokens{display:flex;flex-wrap:wrap;gap:4px;max-height:18em;overflow:auto}
    .token{display:inline-flex;flex-direction:column;align-items:center;padding:1px 5px;
      border:1px solid var(--line);border-radius:4px;white-space:pre}
    .token small{font-size:11px;color:var(--faint)}
    .token.role{background:var(--panel)}
    .token.role small{color:var(--link);font-weight:600}
    .token.other{border-color:var(--negative);font-weight:700}
    .name{margin:8px 0 2px;color:var(--faint);font-size:12px}
    .answers{margin:8px 0}
    .leftout{margin:8px 0;padding:8px 14px;border-left:4px solid var(--caution);background:var(--panel);
      max-width:80ch;overflow-wrap:anywhere}
    .command{margin:14px 0 0}
    .command p{margin:0;color:var(--faint);font-size:12px}
    pre{margin:2px 0 0;padding:8px 12px;background:var(--panel);border-radius:4px;white-space:pre-wrap;
      overflow-wrap:anywhere;font:12px/1.5 ui-monospace,'DejaVu Sans Mono',monospace}
    details{margin:10px 0}
    summary{cursor:pointer;color:var(--link)}
    .map .error{stroke:var(--ink);stroke-width:1.2}
    .glance td:last-child,.glance th:last-child{text-align:left}
    .glance b{font-weight:700}
    .origin{margin-top:14px}
    @media print{nav{display:none}.tokens{max-height:none}.part{break-inside:avoid}}

    """#
}
