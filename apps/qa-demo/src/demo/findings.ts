import { formatCount, formatDuration, formatMebibytes } from '@topk-attention/app-kit';
import { normalizeAnswer } from '@topk-attention/models';
import { byLength, ownBytes, type Run, type StartReport, type Way } from './report.js';

/** Ratios closer to 1 than this are noise of the machine. */
const NOISE = 1.08;

/** Where k pays, as measured: see docs/benchmarks.md. */
const WHERE_K_PAYS =
  'On a CPU it pays from some 16,000 tokens on; on a GPU through WebGPU answers took the same time at 3,900 tokens and 0.72 of it at 15,400 (docs/benchmarks.md).';

/** One finding of the demo: what it is about, and what this run measured of it. */
export interface Finding {
  readonly title: string;
  readonly text: string;
}

/** What chunks buy, what k buys, and what is shown: each sentence follows from this run's own numbers. */
export function findingsOf(report: StartReport): readonly Finding[] {
  return [
    { title: 'What chunks buy: memory', text: ofChunks(report) },
    { title: 'What k buys: time, on long texts', text: ofK(report) },
    ofAnswers(report),
  ];
}

function ofChunks({ runs }: StartReport): string {
  const sentences: string[] = [];
  const pairs = pairsOf(runs, 'plain', 'exact');
  const last = pairs.at(-1);
  if (last !== undefined) {
    const [plain, exact] = last;
    const times = ownBytes(plain) / Math.max(1, ownBytes(exact));
    sentences.push(
      times > NOISE
        ? `Over ${formatCount(plain.tokens)} tokens plain attention takes ${formatMebibytes(ownBytes(plain))} MiB beyond engine and model, attention in chunks ${formatMebibytes(ownBytes(exact))}: ${times.toFixed(1)} times less${timeOfChunks(plain, exact)}.`
        : `Over ${formatCount(plain.tokens)} tokens chunks save nothing: so short a text is one chunk, or nearly.`,
    );
    const first = pairs[0];
    if (first !== undefined && first !== last && first[0].tokens < plain.tokens) {
      const grown = (from: Run, to: Run): string => (ownBytes(to) / Math.max(1, ownBytes(from))).toFixed(1);
      sentences.push(
        `With ${(plain.tokens / first[0].tokens).toFixed(1)} times the tokens plain grew ${grown(first[0], plain)} times, chunks ${grown(first[1], exact)} times.`,
      );
    }
  }
  for (const group of byLength(runs)) {
    const failed = group.find(({ way, failure }) => way === 'plain' && failure !== undefined);
    const exact = group.find(({ way, failure }) => way === 'exact' && failure === undefined);
    if (failed !== undefined && exact !== undefined) {
      sentences.push(
        `Over ${formatCount(exact.tokens)} tokens plain attention ${failed.failure?.message}; in chunks it takes ${formatMebibytes(ownBytes(exact))} MiB.`,
      );
    }
  }
  return sentences.join(' ');
}

function timeOfChunks(plain: Run, exact: Run): string {
  const ratio = exact.milliseconds / plain.milliseconds;
  const times = `${formatDuration(exact.milliseconds)} an answer against ${formatDuration(plain.milliseconds)}`;
  if (ratio > NOISE) return `, at the price of some time (${times})`;
  return ratio < 1 / NOISE ? `, and less time (${times})` : ', in the same time';
}

function ofK({ runs, engine }: StartReport): string {
  const last = pairsOf(runs, 'exact', 'top-k').at(-1);
  if (last === undefined) return '';
  const [exact, topK] = last;
  const ratio = topK.milliseconds / exact.milliseconds;
  const times = `${formatDuration(topK.milliseconds)} an answer against ${formatDuration(exact.milliseconds)}`;
  const place = engine.memory === 'gpu' ? 'on this GPU' : 'on this CPU';
  const over = `Over ${formatCount(topK.tokens)} tokens ${place} top-k takes`;
  if (ratio > NOISE) {
    return `${over} ${ratio.toFixed(1)} times as long as exact (${times}): no gain at this length. ${WHERE_K_PAYS} Memory is the chunks' gain, not that of k.`;
  }
  if (ratio < 1 / NOISE) return `${over} ${ratio.toFixed(2)} of the time of exact (${times}).`;
  return `${over} as long as exact (${times}). ${WHERE_K_PAYS}`;
}

function ofAnswers({ runs, questions, kept, engine }: StartReport): Finding {
  let isAllSame = true;
  const compared = byLength(runs).flatMap((group) => {
    const answered = group.filter(({ failure }) => failure === undefined);
    const exact = answered.find(({ way }) => way === 'exact');
    const others = answered.filter((run) => run !== exact);
    if (exact === undefined || others.length === 0) return [];
    const same = exact.answers.filter(({ text }, at) =>
      others.every(({ answers }) => isSame(answers[at]?.text ?? '', text)),
    );
    isAllSame &&= same.length === exact.answers.length;
    return [
      `${formatCount(exact.tokens)} tokens ${same.length} of ${exact.answers.length} (${exact.right} right)`,
    ];
  });
  const longest = Math.max(0, ...runs.map(({ tokens }) => tokens));
  const keys =
    kept.attention === 'exact'
      ? 'all keys'
      : `${Math.min(kept.attention, longest)} of up to ${formatCount(longest)} keys`;
  const units = kept.feedForward === 'exact' ? 'all' : String(kept.feedForward);
  const subject = questions.length === 1 ? 'the question' : `${questions.length} questions`;
  return {
    title: `What is shown: ${isAllSame ? 'the same answers' : 'how many answers stay the same'}`,
    text: `A model trained with exact attention, not retrained, keeps ${keys} a query and ${units} of ${engine.feedForwardUnits} hidden units a token. The same answer in every way to ${subject}: over ${compared.join(', over ')}.`,
  };
}

/** The two ways at each length at which both have answers. */
function pairsOf(runs: readonly Run[], one: Way, other: Way): (readonly [Run, Run])[] {
  return byLength(runs).flatMap((group) => {
    const [a, b] = [one, other].map((way) =>
      group.find((run) => run.way === way && run.failure === undefined),
    );
    return a === undefined || b === undefined ? [] : [[a, b] as const];
  });
}

/** Answers are compared as SQuAD does. */
function isSame(a: string, b: string): boolean {
  return normalizeAnswer(a) === normalizeAnswer(b);
}
