import { textTable } from '@topk-attention/app-kit';
import { findingsOf } from './findings.js';
import { memoryIs, PLAIN_IS, type StartReport } from './report.js';
import { answerTable, runTable } from './tables.js';

const WIDTH = 80;

/** The last screen of the demo: answers, the table of time and memory by length, and what they say. */
export function summaryOf(report: StartReport): string {
  return [
    textTable(answerTable(report)),
    '',
    textTable(runTable(report, 'summary')),
    '',
    wrap(`${PLAIN_IS} ${memoryIs(report)}`),
    ...findingsOf(report).flatMap(({ title, text }) => ['', wrap(`${title}. ${text}`)]),
  ].join('\n');
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
