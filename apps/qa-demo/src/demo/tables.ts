import { formatCount, formatDuration, formatMebibytes, type Table } from '@topk-attention/app-kit';
import { byLength, ownBytes, type Run, type StartReport, wayNames, ways } from './report.js';

/** Time and memory of every way at every length. A failure shows as a word or two, or with its numbers. */
export function runTable({ runs }: StartReport, failureText: 'summary' | 'message'): Table {
  return {
    columns: [
      { title: 'tokens', align: 'right' },
      { title: 'attention', isHeading: true },
      { title: 'an answer', align: 'right' },
      { title: 'peak MiB', align: 'right' },
      { title: 'beyond model', align: 'right' },
      { title: 'right', align: 'right' },
    ],
    rows: runs.map((run) => [
      formatCount(run.tokens),
      wayNames[run.way],
      ...(run.failure === undefined
        ? [
            formatDuration(run.milliseconds),
            formatMebibytes(run.peakBytes),
            formatMebibytes(ownBytes(run)),
            `${run.right} of ${run.answers.length}`,
          ]
        : [run.failure[failureText]]),
    ]),
  };
}

/** Every question with the right answer and each way's, over the length of `shownRuns`. */
export function answerTable(report: StartReport): Table {
  const shown = shownRuns(report);
  return {
    columns: [
      { title: 'question', maxWidth: 36, isHeading: true },
      { title: 'right answer', maxWidth: 12 },
      ...ways.map((way) => ({ title: way, maxWidth: 12 })),
    ],
    rows: report.questions.map(({ question, answer }, at) => [
      question,
      answer,
      ...ways.map((way) => shown.find((run) => run.way === way)?.answers[at]?.text ?? ''),
    ]),
  };
}

/** The runs whose answers are shown: those over the longest text at which some way answered every question. */
export function shownRuns({ runs, questions }: StartReport): readonly Run[] {
  const whole = byLength(runs).filter((group) =>
    group.some(({ answers }) => answers.length === questions.length),
  );
  return whole.at(-1) ?? [];
}
