import { formatDuration } from '../output/progress.js';
import { renderTable } from '../output/table.js';
import { count, findingsOf, mebibytes } from './findings.js';
import { byLength, ownBytes, PLAIN_IS, type Run, type StartReport, wayNames, ways } from './report.js';

const WIDTH = 80;

/** The last screen of the demo: answers, the table of time and memory by length, and what they say. */
export function summaryOf(report: StartReport): string {
  return [
    answerTable(report),
    '',
    runTable(report),
    '',
    wrap(`${PLAIN_IS} ${memoryIs(report)}`),
    ...findingsOf(report).flatMap(({ title, text }) => ['', wrap(`${title}. ${text}`)]),
  ].join('\n');
}

/** What the memory columns count, in one sentence. */
export function memoryIs({ engine }: StartReport): string {
  return engine.memory === 'gpu'
    ? 'Memory is that of tensors and scratch on the GPU.'
    : 'Memory is the peak of a process of its own for every row.';
}

/** The runs whose answers are shown: the longest text that everything was asked of. */
export function shownRuns({ runs, questions }: StartReport): readonly Run[] {
  const whole = byLength(runs).filter((group) =>
    group.some(({ answers }) => answers.length === questions.length),
  );
  return whole.at(-1) ?? [];
}

function answerTable(report: StartReport): string {
  const shown = shownRuns(report);
  const cells = report.questions.map(({ question, answer }, at) => [
    question,
    answer,
    ...ways.map((way) => shown.find((run) => run.way === way)?.answers[at]?.text ?? ''),
  ]);
  const columns = [
    { title: 'question', maxWidth: 36 },
    { title: 'right answer', maxWidth: 12 },
    ...ways.map((way) => ({ title: way, maxWidth: 12 })),
  ];
  return renderTable(columns, cells);
}

function runTable({ runs }: StartReport): string {
  const columns = [
    { title: 'tokens', align: 'right' },
    { title: 'attention' },
    { title: 'an answer', align: 'right' },
    { title: 'peak MiB', align: 'right' },
    { title: 'beyond model', align: 'right' },
    { title: 'right', align: 'right' },
  ] as const;
  const cells = runs.map((run) => [
    count(run.tokens),
    wayNames[run.way],
    ...(run.failure === undefined
      ? [
          formatDuration(run.milliseconds),
          mebibytes(run.peakBytes),
          mebibytes(ownBytes(run)),
          `${run.right} of ${run.answers.length}`,
        ]
      : [run.failure.summary]),
  ]);
  return renderTable(columns, cells);
}

/** Lines of at most `WIDTH` characters, broken at blanks. */
function wrap(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= WIDTH)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}
