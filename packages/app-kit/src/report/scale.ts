/** An axis of a drawing: values to places, and the values that it names. */
export interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

/** Steps between ticks, times a power of ten. */
const STEPS = [1, 2, 5, 10] as const;

/** An even axis from `low` to `high`, rounded outwards to its ticks. */
export function linearScale(low: number, high: number, from: number, to: number, ticks = 5): Scale {
  const span = high > low ? high - low : Math.max(1, Math.abs(high));
  const power = 10 ** Math.floor(Math.log10(span / ticks));
  const step = power * (STEPS.find((one) => one * power * ticks >= span) ?? 10);
  const first = Math.floor(low / step) * step;
  const count = Math.max(1, Math.ceil((Math.max(high, low + step) - first) / step - 1e-9));
  const last = first + count * step;
  return {
    at: (value) => from + ((value - first) / (last - first)) * (to - from),
    ticks: Array.from({ length: count + 1 }, (_, at) => Number((first + at * step).toPrecision(12))),
  };
}

/** An axis on which doubling is one distance, with ticks at powers of two, or of ten over a wide range. Values above 0. */
export function logScale(low: number, high: number, from: number, to: number): Scale {
  const base = high / low > 2 ** 12 ? 10 : 2;
  const exponent = (value: number): number => Math.log(value) / Math.log(base);
  // Rounding must not push a power of the base to the next.
  const first = Math.floor(exponent(low) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(exponent(high) - 1e-9));
  return {
    at: (value) => from + ((exponent(value) - first) / (last - first)) * (to - from),
    ticks: Array.from({ length: last - first + 1 }, (_, at) => base ** (first + at)),
  };
}

/** An axis on which doubling is one distance, from the first of its ticks to the last: at least two above 0, ascending. */
export function logScaleOver(ticks: readonly number[], from: number, to: number): Scale {
  const [first, last] = [ticks[0], ticks.at(-1)].map((tick) => Math.log(tick as number)) as [number, number];
  return { at: (value) => from + ((Math.log(value) - first) / (last - first)) * (to - from), ticks };
}

/** 65536 -> "65,536", 0.25 -> "0.25". */
export function tickText(value: number): string {
  return Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString('en-US')
    : String(Number(value.toPrecision(4)));
}
