/// The style sheet and the script of `AttentionSection`.
enum AttentionAssets {
  static let style = #"""
    .reading{margin:8px 0;max-width:80ch}
    #attention .controls{margin:0 0 10px}
    #attention .scroll{max-height:88vh;overflow:auto}
    .attention .mesh{fill:none;stroke:var(--line);stroke-width:.5}
    .attention .values text{font-size:9.5px}
    .attention .hit{fill:none;pointer-events:all}
    figcaption{margin:6px 0;font-variant-numeric:tabular-nums}

    """#

  /// The pictures that `AttentionSVG` draws, of any head and pair, and of differences.
  static let script = #"""
    function attentionView(data, tipAt) {
      const section = document.getElementById('attention');
      const [headChoice, pairChoice, runChoice] = section.querySelectorAll('select');
      const layout = data.layout;
      const known = new Map();
      const signed = (x, digits) => (x < 0 ? '-' : '+') + Math.abs(x).toFixed(digits);
      // What is drawn: its weights, the number in words, and the cell that the tip is about.
      let view;

      // Row by row the weights of each query's keys, NaN where there is none.
      function weights(run, head) {
        const name = run + ' ' + head;
        if (!known.has(name)) {
          const bytes = atob(data.runs[run].patterns[head]);
          known.set(name, Float64Array.from({length: bytes.length / 2}, (_, number) => {
            const units = bytes.charCodeAt(2 * number) + 256 * bytes.charCodeAt(2 * number + 1);
            return units > data.one ? NaN : units / data.one;
          }));
        }
        return known.get(name);
      }

      const place = (query, key) => query * (query + 1) / 2 + key;

      function make(name, attributes, ...children) {
        const node = document.createElementNS('http://www.w3.org/2000/svg', name);
        for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
        node.append(...children);
        return node;
      }

      function clip(text, most = 18) {
        const letters = [...text];
        return letters.length > most ? letters.slice(0, most - 1).join('') + '…' : text;
      }

      function choose() {
        const head = Number(headChoice.value), run = Number(runChoice.value);
        const pair = data.pairs[pairChoice.value];
        const both = [pair.clean, pair.corrupted].map(number => weights(number, head));
        const [clean, corrupted] = [pair.clean, pair.corrupted].map(n => data.runs[n].tokens);
        const signs = run === 2;
        const values = signs ? both[0].map((x, n) => x - both[1][n]) : both[run];
        const differs = new Set(pair.differs);
        const tokens = (run === 1 ? corrupted : clean).map((token, position) =>
          signs && differs.has(position) ? token + ' → ' + corrupted[position] : token);
        const scale = signs
          ? values.reduce((most, x) => Math.max(most, Math.abs(x) || 0), layout.smallestScale) : 1;
        const what = data.heads[head].name + ', '
          + ['clean prompt', 'corrupted prompt', 'clean − corrupted'][run] + ', pair ' + pair.name;
        section.querySelector('h2 span').textContent = what;
        view = {values, both, signs, tokens, differs, scale, query: -1, key: 0,
          size: tokens.length};
        [, view.cell, view.labelStep] = layout.cells.find(([most]) => tokens.length <= most)
          ?? layout.smallest;
        section.querySelector('svg').replaceWith(
          draw((signs ? 'Differences of attention weights: ' : 'Attention weights of ') + what));
        describe();
      }

      function draw(title) {
        const {cell, size, labelStep} = view;
        const turned = cell >= 20, many = cell < layout.leastLined;
        const small = labelStep === 1 && cell < layout.leastUsual ? ' small' : '';
        const across = turned ? Math.trunc(layout.labelWidth * 71 / 100) : 0;
        const left = layout.margin + 18 + layout.labelWidth + 8;
        const top = layout.margin + (turned ? across + 18 : layout.labelWidth + 12);
        const side = size * cell;
        const width = left + Math.max(side + across, 300) + layout.margin, height = top + side + 76;
        const rows = make('g', {class: 'rows' + small});
        const columns = make('g', {class: 'tokens' + small});
        for (let position = 0; position < size; position += labelStep) {
          const name = view.differs.has(position) ? 'differs' : '';
          const label = position + ' ' + clip(view.tokens[position]);
          const middle = position * cell + Math.trunc(cell / 2);
          rows.append(make('text', {class: name, 'text-anchor': 'end', x: -7, y: middle + 4}, label));
          columns.append(make('text', {class: name, transform:
            `translate(${middle + (turned ? 2 : 4)} -7) rotate(${turned ? -45 : -90})`}, label));
        }
        let lines = many ? `M0 0L${side} ${side}H0z` : '';
        for (let line = 0; line <= size && !many; line++)
          lines += `M0 ${line * cell}H${Math.min(line + 1, size) * cell}`
            + `M${line * cell} ${Math.max(0, line - 1) * cell}V${side}`;
        const [cells, numbers, crosses] = drawCells(many ? layout.leastOfMany : 0.0005);
        const hit = make('path', {class: 'hit', d: `M0 0H${side}V${side}H0z`});
        view.grid = make('g', {transform: `translate(${left} ${top})`}, rows, columns,
          make('path', {class: 'mesh', d: lines}), cells, make('path', {class: 'cross', d: crosses}),
          numbers, hit);
        const svg = make('svg', {class: 'map attention', role: 'img', width, height,
          viewBox: `0 0 ${width} ${height}`, 'aria-label': title, tabindex: 0},
          make('rect', {class: 'paper', width, height}), view.grid,
          make('text', {class: 'faint', 'text-anchor': 'middle',
            transform: `translate(${layout.margin + 9} ${top + side / 2}) rotate(-90)`}, 'query'),
          make('text', {class: 'faint', 'text-anchor': 'middle', x: left + side / 2,
            y: top + side + 18}, 'key'),
          legend(left, top + side + 34));
        listen(svg);
        return svg;
      }

      function drawCells(least) {
        const {cell, size, scale, signs} = view;
        const cells = make('g', {class: 'cells'}), numbers = make('g', {class: 'values'});
        let crosses = '';
        for (let query = 0; query < size; query++)
          for (let key = 0; key <= query; key++) {
            const value = view.values[place(query, key)], x = key * cell, y = query * cell;
            if (Number.isNaN(value)) crosses += `M${x} ${y}l${cell} ${cell}`;
            if (!(Math.abs(value) >= least)) continue;
            const strength = Math.abs(value) / scale;
            cells.append(make('rect', {class: value < 0 ? 'n' : 'p', x, y, width: cell,
              height: cell, 'fill-opacity': strength.toFixed(3)}));
            if (size > layout.mostNumbers || Math.abs(value) < layout.leastNumber) continue;
            const digits = (signs ? signed(value, 2) : value.toFixed(2)).replace('0.', '.');
            numbers.append(make('text', {class: strength >= layout.strongFrom ? 's' : '',
              x: x + Math.trunc(cell / 2), y: y + Math.trunc(cell / 2) + 4},
              digits.replace('1.00', '1')));
          }
        return [cells, numbers, crosses];
      }

      function legend(x, y) {
        const from = view.signs ? -20 : 0, step = view.signs ? 5 : 10, legend =
          make('g', {class: 'legend'});
        for (let at = from; at <= 20; at++)
          legend.append(make('rect', {class: at < 0 ? 'n' : 'p', x: x + (at - from) * step, y,
            width: step, height: 10, 'fill-opacity': (Math.abs(at) / 20).toFixed(2)}));
        const end = x + (21 - from) * step, limit = String(Number(view.scale.toPrecision(3)));
        const text = (place, anchor, words) => legend.append(
          make('text', {x: place, y: y + 22, 'text-anchor': anchor}, words));
        text(x, 'start', view.signs ? '-' + limit : '0');
        if (view.signs) text((x + end) / 2, 'middle', '0');
        text(end, 'end', view.signs ? '+' + limit : '1');
        legend.append(make('text', {class: 'faint', x: end + 8, y: y + 9},
          view.signs ? 'clean − corrupted' : 'weight'));
        return legend;
      }

      // What the last position attends to most, or where it changes most.
      function describe() {
        const last = view.size - 1;
        const name = position => {
          const token = document.createElement('bdi');
          token.textContent = view.tokens[position];
          return [position + ' ', token];
        };
        const row = [...view.values.subarray(place(last, 0))].map((value, key) => ({value, key}))
          .filter(({value}) => Math.abs(value) >= 0.0005)
          .sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 5);
        const words = row.flatMap(({value, key}, number) => [number ? ', ' : '', ...name(key),
          ' ' + (view.signs ? signed(value, 3) : value.toFixed(3))]);
        section.querySelector('figcaption').replaceChildren('Position ', ...name(last),
          view.signs ? row.length ? ' changes most at ' : ' does not change'
            : ' attends most to ', ...words, '.');
      }

      // The key that the last position attends to most.
      function strongest() {
        const row = [...view.values.subarray(place(view.size - 1, 0))].map(x => Math.abs(x) || 0);
        return row.indexOf(Math.max(...row));
      }

      // The tip, and a ring around the cell that it is about.
      function select(query, key, x, y) {
        view.grid.querySelector('.ring')?.remove();
        [view.query, view.key] = [query, key];
        if (query < 0) return tipAt('');
        const value = view.values[place(query, key)];
        const number = x => Number.isNaN(x) ? 'not a number' : x.toFixed(3);
        let text = `query pos ${query} ${view.tokens[query]} → key pos ${key} ${view.tokens[key]}  `;
        text += view.signs && !Number.isNaN(value) ? signed(value, 3) : number(value);
        if (view.signs) {
          const [clean, corrupted] = view.both.map(all => number(all[place(query, key)]));
          text += `\nclean ${clean}, corrupted ${corrupted}`;
        }
        const ring = make('rect', {class: 'ring', x: key * view.cell, y: query * view.cell,
          width: view.cell, height: view.cell});
        view.grid.append(ring);
        if (x === undefined) ring.scrollIntoView({block: 'nearest', inline: 'nearest'});
        tipAt(text, ring.getBoundingClientRect(), x, y);
      }

      function listen(svg) {
        svg.addEventListener('pointermove', event => {
          const point = new DOMPoint(event.clientX, event.clientY)
            .matrixTransform(view.grid.getScreenCTM().inverse());
          const query = Math.floor(point.y / view.cell), key = Math.floor(point.x / view.cell);
          if (key < 0 || query < key || query >= view.size) return select(-1, 0);
          select(query, key, event.clientX, event.clientY);
        });
        svg.addEventListener('pointerleave', () => select(-1, 0));
        svg.addEventListener('blur', () => select(-1, 0));
        svg.addEventListener('keydown', event => {
          if (event.key === 'Escape') return select(-1, 0);
          const by = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0],
            ArrowDown: [1, 0]}[event.key];
          if (!by) return;
          event.preventDefault();
          if (view.query < 0) return select(view.size - 1, strongest());
          const query = view.query + by[0], key = view.key + by[1];
          if (key >= 0 && key <= query && query < view.size) select(query, key);
        });
      }

      const controls = section.querySelector('form');
      for (const choice of [headChoice, pairChoice, runChoice])
        choice.addEventListener('change', choose);
      controls.addEventListener('submit', event => event.preventDefault());
      controls.reset();
      controls.hidden = false;
      choose();
      return {
        find: (layer, head) =>
          data.heads.findIndex(entry => entry.layer === layer && entry.head === head),
        show(head) {
          headChoice.value = head;
          choose();
          section.scrollIntoView({block: 'nearest', behavior: 'smooth'});
        },
        // The same pair of the page, if its patterns are here.
        showPair(pair) {
          const number = data.pairs.findIndex(entry => entry.pair === pair);
          if (number < 0) return;
          pairChoice.value = number;
          choose();
        },
      };
    }

    """#
}
