import { fill } from '../wgsl/fill.js';
import { lines, times } from '../wgsl/text.js';
import { LOG_HELD } from './sizes.js';
import { text } from './transform.wgsl.js';

/** Of the transform of 2^log numbers: each stage transforms 2^logRadix at a time, of blocks of 2^logBlock. */
interface Stage {
  readonly logRadix: number;
  readonly logBlock: number;
}

/** Eight at a time, and first what is left. */
function stagesOf(log: number): readonly Stage[] {
  const stages: Stage[] = [];
  for (let logBlock = log; logBlock > 0; ) {
    const logRadix = logBlock % LOG_HELD || LOG_HELD;
    stages.push({ logRadix, logBlock });
    logBlock -= logRadix;
  }
  return stages;
}

const names = ['', 'halves', 'fours', 'eights'] as const;

/**
 * WGSL of transforms of series of 2^log numbers, eight of them in the registers of an invocation: `forward` and `inverse`
 * of invocation `i` of a series, whose number t of the tile is at `begin` + (t << log_lanes). Before `forward` and after
 * `inverse` an invocation holds the numbers i + m 2^log / 8, after `forward` and before `inverse` those at 8 i + m, in the
 * order of `frequency`: nothing is moved. `inverse` is times 2^log. Series of fewer than eight have one invocation.
 */
export function transformText(log: number): string {
  const helpers = fill(text, { is_spread: log > 7 });
  return lines([helpers, log < LOG_HELD ? shortText(log) : longText(log)]);
}

/** Where the numbers of an invocation are in their series, as WGSL: of number m, before `forward` or after it. */
export function placesOf(log: number): {
  readonly held: number;
  readonly invocations: number;
  readonly number: (m: number) => string;
  readonly frequency: (m: number) => string;
} {
  const invocations = 2 ** Math.max(0, log - LOG_HELD);
  return {
    held: 2 ** Math.min(log, LOG_HELD),
    invocations,
    number: (m) => `i + ${m * invocations}u`,
    frequency: (m) => (log < LOG_HELD ? `${m}u` : `8u * i + ${m}u`),
  };
}

function longText(log: number): string {
  const stages = stagesOf(log);
  const turned = ({ logRadix, logBlock }: Stage): string =>
    logBlock > logRadix
      ? `turn_${names[logRadix]}(v, i & ${2 ** (logBlock - LOG_HELD) - 1}u, ${logBlock}u);`
      : '';
  const transformed = ({ logRadix }: Stage): string => `${names[logRadix]}(v);`;
  /** Stages in order, each on the numbers that its invocation takes from the tile, where the one before put them. */
  const pass = (order: readonly Stage[], work: (stage: Stage) => readonly string[]): string =>
    order
      .map((stage, at) => {
        const [before, isLast] = [order[at - 1], at === order.length - 1];
        const taken = before === undefined ? '' : `take(v, begin, i, ${stage.logBlock}u);`;
        const put = isLast ? '' : `put(v, begin, i, ${stage.logBlock}u);`;
        const statements = [taken, ...work(stage), put].filter((one) => one !== '').join(' ');
        return `  if (works) { ${statements} }${isLast ? '' : '\n  workgroupBarrier();'}`;
      })
      .join('\n');
  return lines([
    frequenciesText(stages, log),
    'fn forward(v: ptr<function, Numbers>, begin: u32, i: u32, works: bool) {',
    pass(stages, (stage) => [transformed(stage), turned(stage)]),
    '}',
    'fn inverse(v: ptr<function, Numbers>, begin: u32, i: u32, works: bool) {',
    '  swap(v);',
    pass([...stages].reverse(), (stage) => [turned(stage), transformed(stage)]),
    '  swap(v);',
    '}',
  ]);
}

/** The digits of a place, of the radix of their stage each, in reverse; and what turns by them. */
function frequenciesText(stages: readonly Stage[], log: number): string {
  let weight = 0;
  const digits = stages.map(({ logRadix, logBlock }) => {
    const digit = `(((t >> ${logBlock - logRadix}u) & ${2 ** logRadix - 1}u) << ${weight}u)`;
    weight += logRadix;
    return digit;
  });
  return `/** The frequency at place t after \`forward\`. */
fn frequency(t: u32) -> u32 { return ${digits.join(' | ')}; }
/** Turns what \`forward\` leaves by the frequencies times the offset, of the whole circle. */
fn turn_frequencies(v: ptr<function, Numbers>, offset: u32, i: u32) {
  turn_powers(v, turn(offset << ${log - LOG_HELD}u, params.log_total), turn(offset << ${log - 1}u, params.log_total));
  let first = turn(offset * frequency(8u * i), params.log_total);
${times(2 ** LOG_HELD, (m) => `  (*v)[${m}] = times((*v)[${m}], first);`)}
}`;
}

/** One, two or four numbers, at the first places of the eight. */
function shortText(log: number): string {
  const numbers = ['', 'n[0] + n[1], n[0] - n[1]', 'made.a, made.b, made.c, made.d'][log] as string;
  return `fn forward(v: ptr<function, Numbers>, begin: u32, i: u32, works: bool) {
  let n = *v;
  let made = four(n[0], n[1], n[2], n[3]);
  *v = ${log === 0 ? 'n' : `Numbers(${numbers}, ${'n[7], '.repeat(8 - 2 ** log).slice(0, -2)})`};
}
fn inverse(v: ptr<function, Numbers>, begin: u32, i: u32, works: bool) {
  swap(v);
  forward(v, begin, i, works);
  swap(v);
}`;
}
