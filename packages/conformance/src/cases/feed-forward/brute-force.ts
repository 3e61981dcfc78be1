import { activated } from '../../harness/support/activated.js';
import { at, type Nd, sizeOf } from '../../harness/support/nd.js';
import { limited as limitedTo, type ScoreRange } from '../attention/brute-force.js';
import type { FeedForwardAnswer, FeedForwardProblem, WeightRole } from './problem.js';

/** An answer plus what only brute force knows. */
export interface FeedForwardSolution extends FeedForwardAnswer {
  /**
   * Elements of gradients that the contract leaves open: if only k units are kept, it is undefined which units of a
   * token with a NaN take part. Absent if all is defined.
   */
  readonly open: Partial<Record<WeightRole, readonly boolean[]>>;
}

/** Units beaten by fewer than `most` others: by a higher rank, or an equal one and a lower index. -inf is no rank. */
function keptOf(ranks: readonly number[], most: number): number[] {
  const units = [...ranks.keys()];
  if (most >= ranks.length || ranks.some(Number.isNaN)) return units;
  const isBeaten = (unit: number, by: number): boolean => {
    const [own, other] = [ranks[unit] as number, ranks[by] as number];
    return other > own || (other === own && by < unit);
  };
  return units.filter(
    (unit) =>
      ranks[unit] !== Number.NEGATIVE_INFINITY && units.filter((by) => isBeaten(unit, by)).length < most,
  );
}

/**
 * The layer by brute force in f64, one token at a time, from the contract alone and sharing no code with core: only kept
 * units take part, in plain arithmetic. Gradients only with a cotangent.
 */
export function solve(
  problem: FeedForwardProblem,
  cotangent?: Nd,
  range: ScoreRange = 'f64',
): FeedForwardSolution {
  const { wIn, bIn, wGate, wOut, bOut, activation, select, kept: most } = problem;
  const [width = 0, hidden = 0] = wIn.shape;
  const columns = wOut.shape[1] ?? 0;
  const tokens = sizeOf(problem.x.shape) / width;
  const x: Nd = { shape: [tokens, width], data: problem.x.data };
  const dOutput: Nd | undefined = cotangent && { shape: [tokens, columns], data: cotangent.data };
  const limited = (value: number): number => limitedTo(range, value);
  const dot = (length: number, term: (i: number) => number): number =>
    Array.from({ length }, (_, i) => term(i)).reduce((sum, one) => sum + one, 0);
  const units = [...Array(hidden).keys()];
  const lengths = units.map((unit) => Math.sqrt(dot(columns, (d) => at(wOut, [unit, d]) ** 2)));

  const output: number[] = [];
  const zeros = (of: Nd): number[] => of.data.map(() => 0);
  const sums: Partial<Record<WeightRole, number[]>> & { x: number[]; wIn: number[]; wOut: number[] } = {
    x: zeros(x),
    wIn: zeros(wIn),
    ...(bIn && { bIn: zeros(bIn) }),
    ...(wGate && { wGate: zeros(wGate) }),
    wOut: zeros(wOut),
    ...(bOut && { bOut: zeros(bOut) }),
  };
  let isOpen = false;

  for (let token = 0; token < tokens; token++) {
    const project = (matrix: Nd, unit: number): number =>
      limited(dot(width, (d) => at(x, [token, d]) * at(matrix, [d, unit])));
    const s = units.map((unit) => limited(project(wIn, unit) + (bIn ? at(bIn, [unit]) : 0)));
    const gates = units.map((unit) => (wGate ? project(wGate, unit) : 1));
    const acts = s.map((value) => activated(activation, value));
    const values = acts.map(([value], unit) => limited(value * (gates[unit] as number)));
    const ranks =
      select === 'contribution'
        ? values.map((value, unit) => limited(Math.abs(value) * (lengths[unit] as number)))
        : s;
    const isNaNToken = most < hidden && ranks.some(Number.isNaN);
    const kept = keptOf(ranks, most);
    for (let d = 0; d < columns; d++) {
      const sum = dot(
        kept.length,
        (n) => (values[kept[n] as number] as number) * at(wOut, [kept[n] as number, d]),
      );
      output.push(isNaNToken ? Number.NaN : sum + (bOut ? at(bOut, [d]) : 0));
    }
    if (dOutput === undefined) continue;
    isOpen ||= isNaNToken;
    const add = (array: number[] | undefined, position: number, amount: number): void => {
      if (array) array[position] = (array[position] as number) + amount;
    };
    for (let d = 0; d < columns; d++) add(sums.bOut, d, at(dOutput, [token, d]));
    for (const unit of kept) {
      const [value, slope] = acts[unit] ?? [0, 0];
      const gate = gates[unit] as number;
      const dValue = isNaNToken
        ? Number.NaN
        : dot(columns, (d) => at(dOutput, [token, d]) * at(wOut, [unit, d]));
      for (let d = 0; d < columns; d++) {
        add(sums.wOut, unit * columns + d, (values[unit] as number) * at(dOutput, [token, d]));
      }
      const [dS, dGate] = [dValue * gate * slope, dValue * value];
      add(sums.bIn, unit, dS);
      for (let d = 0; d < width; d++) {
        add(sums.wIn, d * hidden + unit, dS * at(x, [token, d]));
        add(sums.wGate, d * hidden + unit, dGate * at(x, [token, d]));
        const through = dS * at(wIn, [d, unit]);
        add(sums.x, token * width + d, wGate ? through + dGate * at(wGate, [d, unit]) : through);
      }
    }
  }
  // A token with a NaN may have kept any unit: the only weight gradient still certain is that of the output bias.
  const open = (['wIn', 'bIn', 'wGate', 'wOut'] as const).flatMap((role) => {
    const sum = sums[role];
    return isOpen && sum ? [[role, sum.map(() => true)] as const] : [];
  });
  return {
    output,
    gradients: dOutput === undefined ? {} : sums,
    open: Object.fromEntries(open),
  };
}
