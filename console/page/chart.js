// Stacked bars by day. The same numbers stand in a table beside it, so the picture is for the eye only.

import { html, svg } from './lit.js';
import { exactMoney, money, tick, utcDayOf } from './format.js';

const HEIGHT = 180;
const WIDTH = 720;
const BOTTOM = 22;
const LEFT = 60;
const GAP = 3;
export const SERIES = 6;

/**
 * @param {string} label @param {string[]} days @param {{name: string, values: number[]}[]} series at most SERIES
 */
export function chart(label, days, series) {
  const totals = days.map((_, index) => series.reduce((sum, row) => sum + row.values[index], 0));
  const top = niceTop(Math.max(...totals, 0));
  const width = (WIDTH - LEFT) / days.length;
  const scale = (HEIGHT - BOTTOM - 8) / top;
  const bars = days.map((day, index) => {
    let y = HEIGHT - BOTTOM;
    return svg`<g>${series.map(({ name, values }, number) => {
      const height = values[index] * scale;
      y -= height;
      return height > 0
        ? svg`<rect
            class="c${number + 1}"
            x=${LEFT + index * width}
            y=${y}
            width=${width - Math.min(GAP, width / 3)}
            height=${height}
          ><title>${utcDayOf(day)}: ${name} ${exactMoney(values[index]) || money(values[index])}</title></rect>`
        : svg``;
    })}</g>`;
  });
  const every = Math.ceil(days.length / 6);
  return html`<figure class="chart">
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label=${label}>
      ${[0, 0.5, 1].map(part => {
        const y = HEIGHT - BOTTOM - part * top * scale;
        return svg`<line class="grid" x1=${LEFT} x2=${WIDTH} y1=${y} y2=${y}></line>
          <text class="axis" x=${LEFT - 8} y=${y + 4} text-anchor="end">${tick(part * top, top / 2)}</text>`;
      })}
      ${bars}
      ${days.map((day, index) =>
        index % every
          ? svg``
          : svg`<text class="axis" x=${LEFT + index * width} y=${HEIGHT - 6}>${utcDayOf(day)}</text>`,
      )}
    </svg>
    ${series.length > 1 ? legend(series) : ''}
  </figure>`;
}

/** @param {{name: string}[]} series */
const legend = series =>
  html`<figcaption>
    ${series.map(({ name }, number) => html`<span class="c${number + 1}" dir="auto">${name}</span>`)}
  </figcaption>`;

/** A round number at or above the highest bar. @param {number} highest */
function niceTop(highest) {
  if (highest <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(highest));
  return [1, 2, 5, 10].map(step => step * power).find(top => top >= highest) ?? highest;
}

/** Each day from the first to the last, both as YYYY-MM-DD. @param {string} from @param {string} to */
export function daysBetween(from, to) {
  const days = [];
  for (let day = Date.parse(from); day <= Date.parse(to); day += 86400e3)
    days.push(new Date(day).toISOString().slice(0, 10));
  return days;
}
