/// The style sheet and the script of `PatchPage`.
enum PageAssets {
  static let style = """
    :root{color-scheme:light dark;\(Palette.light.properties)}
    @media (prefers-color-scheme:dark){:root{\(Palette.dark.properties)}}
    @media print{:root{color-scheme:light;\(Palette.light.properties)}}
    \(Palette.figureRules { "var(--\($0))" })
    """ + layout

  private static let layout = #"""
    *{box-sizing:border-box}
    body{margin:0 auto;padding:24px 20px 48px;max-width:1320px;background:var(--paper);
      color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}
    h1{font-size:22px;line-height:1.25;margin:0 0 6px}
    h2{font-size:18px;margin:28px 0 10px;white-space:pre-wrap}
    h2 span{font-weight:400;color:var(--faint)}
    section[data-pair] .mean,section[data-pair] th:nth-child(n+3),
      section[data-pair] td:nth-child(n+3){display:none}
    .facts{margin:0;color:var(--faint)}
    .facts span+span::before{content:" · "}
    .warnings{margin:14px 0 0;padding:8px 14px;border-left:4px solid var(--caution);
      background:var(--panel)}
    .warnings ul{margin:0;padding-left:18px}
    .controls{display:flex;flex-wrap:wrap;gap:10px 18px;align-items:center;margin:18px 0 0;
      padding:10px 14px;background:var(--panel);border:1px solid var(--line);border-radius:6px}
    [hidden],.controls[hidden]{display:none}
    select,button{font:inherit;color:inherit;background:var(--paper);border:1px solid var(--line);
      border-radius:4px;padding:3px 8px;max-width:min(420px,70vw)}
    button{min-width:32px}
    button:disabled{color:var(--faint)}
    :focus-visible{outline:2px solid var(--link);outline-offset:2px}
    .baselines{display:flex;flex-wrap:wrap;gap:6px 28px;margin:0 0 10px}
    dt{color:var(--faint);font-size:12px}
    dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
    .baselines dd{font-size:17px}
    .baselines .formula dd{font-size:15px}
    .prompts{margin:0 0 10px}
    .prompts p{margin:2px 0;max-height:6em;overflow:auto;overflow-wrap:anywhere;
      white-space:pre-wrap}
    .prompts b{color:var(--faint);font-weight:400;display:inline-block;min-width:84px}
    figure{margin:0}
    .scroll{overflow-x:auto}
    .map{display:block}
    .map:focus-visible{outline-offset:-2px}
    details{margin:10px 0}
    summary{cursor:pointer;color:var(--link)}
    \#(AttentionAssets.style).notes{margin:8px 0;padding-left:18px;color:var(--faint);font-size:13px}
    table{border-collapse:collapse;margin:14px 0;font-variant-numeric:tabular-nums}
    caption{text-align:left;font-weight:600;padding-bottom:4px}
    th,td{text-align:right;padding:3px 12px;border-bottom:1px solid var(--line);font-weight:400}
    th:first-child{text-align:left;padding-left:0;white-space:pre}
    thead th{color:var(--faint);font-size:12px}
    tbody tr:hover{background:var(--panel)}
    footer{margin-top:36px;padding-top:10px;border-top:1px solid var(--line);font-size:13px}
    footer p{margin:4px 0;max-width:900px}
    .origin{margin:12px 0 0}
    .origin div{display:grid;grid-template-columns:100px minmax(0,1fr);gap:0 10px}
    .origin dt{line-height:1.6}
    .origin dd{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:12px}
    #tip{position:fixed;z-index:2;pointer-events:none;max-width:min(340px,92vw);padding:6px 10px;
      background:var(--ink);color:var(--paper);border-radius:4px;font-size:13px;line-height:1.4;
      white-space:pre-line;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
    @media (max-width:600px){body{padding:16px 12px 32px}h1{font-size:19px}th,td{padding:3px 6px;font-size:13px}
      .origin div{grid-template-columns:1fr}}
    @media print{
      body{max-width:none;padding:0;font-size:11pt}
      .controls,#tip{display:none}
      .scroll,#attention .scroll{overflow:visible;max-height:none}
      .prompts p{max-height:none}
      .map{max-width:100%;max-height:90vh;height:auto;width:auto}
      figure,table,.baselines{break-inside:avoid}
      h2{break-after:avoid}
    }

    """#

  static let script = "'use strict';\n" + AttentionAssets.script + figures

  private static let figures = #"""
    (() => {
      const data = JSON.parse(document.getElementById('data').textContent);
      const sections = [...document.querySelectorAll('section[data-figure]')];
      const tip = document.getElementById('tip');
      const [controls, sweepChoice, metricChoice, pairChoice, steps, previous, next] =
        ['controls', 'sweep', 'metric', 'pair', 'steps', 'previous', 'next']
          .map(id => document.getElementById(id));
      const svgSpace = 'http://www.w3.org/2000/svg';
      const signed = x => (x < 0 ? '-' : '+') + Math.abs(x).toFixed(4);

      // Every figure with its parts, as they are for all pairs.
      const figures = sections.map((section, number) => {
        const svg = section.querySelector('svg');
        const byPosition = data.sweeps[number].place === '';
        const figure = {
          ...data.sweeps[number], section, svg, byPosition,
          rects: [...svg.querySelectorAll('.cells rect')],
          values: [...svg.querySelectorAll('.values text')],
          tokens: byPosition ? [...svg.querySelectorAll('.tokens text')] : [],
          body: section.querySelector('tbody'), pair: null, selected: -1,
          original: new Map(),
        };
        // The tip replaces the titles, which are those of all pairs.
        for (const rect of figure.rects) rect.replaceChildren();
        for (const node of section.querySelectorAll('.tokens text, .rows text, .baselines dd, caption'))
          figure.original.set(node, [...node.childNodes].map(child => child.cloneNode(true)));
        if (figure.body) figure.original.set(figure.body, [...figure.body.children]);
        figure.classes = figure.tokens.map(node => node.getAttribute('class'));
        return figure;
      });

      const effects = figure => figure.pair === null ? figure.effect : figure.own[figure.pair];
      const texts = figure =>
        figure.pair === null ? data.tokens : data.pairs[figure.pair].tokens.texts;

      // Where a cell is on each axis of its sweep.
      function place(figure, cell) {
        const at = {};
        for (let axis = figure.axes.length - 1; axis >= 0; axis--) {
          at[figure.axes[axis]] = cell % figure.shape[axis];
          cell = Math.floor(cell / figure.shape[axis]);
        }
        at.pos ??= at.dest;
        return at;
      }

      const part = (word, number) => number === undefined ? null : word + number;

      function name(figure, cell) {
        const at = place(figure, cell);
        const named = Object.entries(figure.labels).map(([axis, labels]) => labels[at[axis]]);
        return [
          figure.layers[at.layer], ...named, part('H', at.head), part('N', at.neuron),
          part('pos ', at.pos) ?? figure.place,
          at.pos === undefined ? null : texts(figure)[at.pos], part('← pos ', at.src),
        ].filter(part => part).join(' ');
      }

      function description(figure, cell) {
        const effect = effects(figure)[cell];
        const lines = [name(figure, cell), effect === null ? 'no value' : 'effect ' + signed(effect)];
        if (figure.pair === null) {
          if (figure.patched[cell] !== null) lines.push('patched ' + signed(figure.patched[cell]));
          if (figure.error[cell] !== null) lines.push('± s.e. ' + figure.error[cell].toFixed(4));
          if (figure.q[cell] !== null) lines.push('q ' + (figure.q[cell] < 0.0001
            ? '<.0001' : figure.q[cell].toFixed(4)));
          lines.push(figure.count[cell] + (figure.count[cell] === 1 ? ' pair' : ' pairs'));
        }
        if (headOf(figure, cell) >= 0) lines.push('click or Enter: attention pattern');
        return lines.join('\n');
      }

      function short(x) {
        const size = Math.abs(x);
        return size < 0.005 ? '0' : size < 9.995 ? x.toFixed(2) : size < 99.95 ? x.toFixed(1)
          : size < 9999.5 ? x.toFixed(0) : x.toExponential(0);
      }

      // Colours and numbers of all pairs or of one.
      function paint(figure) {
        const all = effects(figure);
        const scale = all.reduce(
          (most, x) => x === null ? most : Math.max(most, Math.abs(x)), data.smallestScale);
        let crosses = '';
        all.forEach((effect, cell) => {
          const rect = figure.rects[cell], value = figure.values[cell];
          const strength = effect === null ? 0 : Math.min(1, Math.abs(effect) / scale);
          rect.setAttribute('class', effect === null ? 'void' : effect < 0 ? 'n' : 'p');
          rect.setAttribute('fill-opacity', strength.toFixed(3));
          if (effect === null) {
            const [x, y, width, height] =
              ['x', 'y', 'width', 'height'].map(side => rect.getAttribute(side));
            crosses += `M${x} ${y}l${width} ${height}`;
          }
          if (value) {
            value.textContent = effect === null ? '' : short(effect);
            value.setAttribute('class', strength >= data.strongFrom ? 's' : '');
          }
        });
        figure.svg.querySelector('.cross').setAttribute('d', crosses);
        const limit = String(Number(scale.toPrecision(3)));
        figure.svg.querySelector('.low').textContent = '-' + limit;
        figure.svg.querySelector('.high').textContent = '+' + limit;
      }

      const clip = (text, most = 18) =>
        [...text].length > most ? [...text].slice(0, most - 1).join('') + '…' : text;

      function label(figure) {
        const pair = figure.pair === null ? null : data.pairs[figure.pair];
        for (const [node, children] of figure.original)
          node.replaceChildren(...children.map(child =>
            node === figure.body ? child : child.cloneNode(true)));
        figure.tokens.forEach((node, position) => {
          if (!pair) return node.setAttribute('class', figure.classes[position]);
          node.textContent = clip(pair.tokens.texts[position] ?? '');
          node.setAttribute('class', pair.tokens.differs[position] ? 'differs' : '');
        });
        const prompts = figure.section.querySelector('.prompts');
        prompts.hidden = !pair;
        figure.section.toggleAttribute('data-pair', Boolean(pair));
        if (!pair) return;
        if (figure.byPosition && figure.axes.includes('head') && !figure.axes.includes('role'))
          figure.svg.querySelectorAll('.rows text').forEach((node, row) => {
            const at = place(figure, row * figure.columns);
            node.textContent = [
              figure.layers[at.layer], at.src === undefined ? null : 'H' + at.head, 'pos ' + at.pos,
              clip(pair.tokens.texts[at.pos] ?? ''),
            ].filter(part => part).join(' ');
          });
        const [clean, corrupted] = pair.baselines[figure.metric];
        const number = x => x === null ? 'not finite' : signed(x);
        figure.section.querySelector('dd.clean').textContent = number(clean);
        if (figure.section.querySelector('dd.gap')) {
          figure.section.querySelector('dd.corrupted').textContent = number(corrupted);
          figure.section.querySelector('dd.gap').textContent =
            clean === null || corrupted === null ? 'not finite' : signed(clean - corrupted);
        }
        prompts.replaceChildren(...[
          ['clean', pair.clean], ['corrupted', pair.corrupted],
          ['answers', [[pair.answer, 'right'], [pair.wrong, 'wrong']].filter(([text]) => text)
            .map(([text, word]) => text + '  (' + word + ')').join('   ')],
        ].filter(([, text]) => text).map(([title, text]) => {
          const line = document.createElement('p'), word = document.createElement('b');
          const body = document.createElement('bdi');
          word.textContent = title;
          body.textContent = text;
          line.append(word, ' ', body);
          return line;
        }));
        if (!figure.body) return;
        figure.section.querySelector('caption').textContent = 'The largest effects on this pair';
        const all = effects(figure);
        const rows = all.map((_, cell) => cell).filter(cell => all[cell])
          .sort((a, b) => Math.abs(all[b]) - Math.abs(all[a])).slice(0, data.top);
        figure.body.replaceChildren(...rows.map(cell => {
          const row = document.createElement('tr'), title = document.createElement('th');
          title.scope = 'row';
          title.textContent = clip(name(figure, cell), 44);
          row.dataset.cell = cell;
          const field = document.createElement('td');
          field.textContent = signed(all[cell]);
          row.append(title, field);
          return row;
        }));
      }

      // A text beside a box, or beside the pointer; no text hides it.
      function tipAt(text, box, x, y) {
        tip.hidden = !text;
        if (!text) return;
        tip.textContent = text;
        const left = (x ?? box.right) + 12, top = (y ?? box.bottom) + 12;
        tip.style.left = Math.max(4, Math.min(left, innerWidth - tip.offsetWidth - 4)) + 'px';
        tip.style.top = (top + tip.offsetHeight > innerHeight
          ? Math.max(4, (y ?? box.top) - tip.offsetHeight - 12) : top) + 'px';
      }

      const attention = data.attention && attentionView(data.attention, tipAt);

      // The number that the attention section has of a cell's head, if it has it.
      function headOf(figure, cell) {
        const at = place(figure, cell);
        return attention?.find(figure.layers[at.layer], at.head) ?? -1;
      }

      // The tip, and the cell that it is about.
      function select(figure, cell, x, y) {
        figure.selected = cell;
        figure.svg.querySelector('.ring')?.remove();
        figure.svg.style.cursor = cell >= 0 && headOf(figure, cell) >= 0 ? 'pointer' : '';
        if (cell < 0) return tipAt('');
        const rect = figure.rects[cell];
        const ring = document.createElementNS(svgSpace, 'rect');
        for (const side of ['x', 'y', 'width', 'height'])
          ring.setAttribute(side, rect.getAttribute(side));
        ring.setAttribute('class', 'ring');
        figure.svg.querySelector('.cells').parentNode.append(ring);
        tipAt(description(figure, cell), rect.getBoundingClientRect(), x, y);
      }

      // A head's cell leads to its attention.
      function follow(figure, cell) {
        const head = cell >= 0 ? headOf(figure, cell) : -1;
        if (head >= 0) attention.show(head);
      }

      function current() {
        return figures.find(figure => !figure.section.hidden);
      }

      function show() {
        const sweep = Number(sweepChoice.value), metric = Number(metricChoice.value);
        for (const figure of figures)
          figure.section.hidden = figure.sweep !== sweep || figure.metric !== metric;
        const figure = current();
        pairChoice.parentNode.hidden = steps.hidden = !figure.own;
        const pair = figure.own && pairChoice.value !== '' ? Number(pairChoice.value) : null;
        previous.disabled = pair === null;
        next.disabled = pair === data.pairs.length - 1;
        if (figure.pair === pair) return;
        if (pair !== null) attention?.showPair(pair);
        figure.pair = pair;
        select(figure, -1);
        label(figure);
        paint(figure);
      }

      function step(by) {
        pairChoice.selectedIndex += by;
        show();
      }

      for (const figure of figures) {
        const numbers = new Map(figure.rects.map((rect, cell) => [rect, cell]));
        figure.svg.tabIndex = 0;
        figure.svg.addEventListener('pointermove', event => {
          const cell = numbers.get(event.target);
          select(figure, cell ?? -1, event.clientX, event.clientY);
        });
        figure.svg.addEventListener('click', event => follow(figure, numbers.get(event.target)));
        figure.svg.addEventListener('pointerleave', () => select(figure, -1));
        figure.svg.addEventListener('blur', () => select(figure, -1));
        figure.svg.addEventListener('keydown', event => {
          const by = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -figure.columns,
            ArrowDown: figure.columns}[event.key];
          if (event.key === 'Escape') return select(figure, -1);
          if (event.key === 'Enter') return follow(figure, figure.selected);
          if (!by) return;
          event.preventDefault();
          const cell = figure.selected < 0 ? 0 : figure.selected + by;
          if (cell < 0 || cell >= figure.rects.length) return;
          figure.rects[cell].scrollIntoView({block: 'nearest', inline: 'nearest'});
          select(figure, cell);
        });
      }
      data.pairs.forEach((pair, number) => pairChoice.add(new Option('pair ' + pair.name, number)));
      for (const choice of [sweepChoice, metricChoice, pairChoice])
        choice.addEventListener('change', show);
      previous.addEventListener('click', () => step(-1));
      next.addEventListener('click', () => step(1));
      controls.addEventListener('submit', event => event.preventDefault());
      controls.reset();
      controls.hidden = false;
      show();
    })();

    """#
}
