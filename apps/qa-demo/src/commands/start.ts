import { fileURLToPath } from 'node:url';
import { formatCount } from '@topk-attention/app-kit';
import {
  type CommandUnknownOpts,
  type Io,
  print,
  requireWritable,
  shownPath,
  writeFileAtomically,
} from '@topk-attention/app-kit/node';
import { TopKError } from '@topk-attention/core';
import { readSample, type Sample, samplePaths } from '../datasets/sample.js';
import { htmlReport } from '../demo/html.js';
import { passageAbout } from '../demo/passage.js';
import { type Run, type StartReport, ways } from '../demo/report.js';
import { type RunOptions, runWay, type Task } from '../demo/run-way.js';
import { summaryOf } from '../demo/summary.js';
import type { EngineInfo, Kept } from '../engine/protocol.js';
import { kept } from './kept-values.js';
import {
  budgetOf,
  DEFAULT_ATTENTION_K,
  DEFAULT_MAX_NEW_TOKENS,
  engineSettings,
  type ModelOptions,
  modelCommand,
} from './model-command.js';
import { lengthWarning } from './notices.js';

const notes = `
Asks all questions about a quarter of the text and about all of it, every way at every length in a process of its own.
Runs on WebGPU where there is a GPU, else on ONNX Runtime; fails where neither is there, unless --backend asks for another.`;

type StartOptions = ModelOptions & {
  long?: true;
  document?: string;
  questions?: string;
  attentionK: Kept;
  feedForwardK?: Kept;
  report?: string;
};

/** `start`: the demo. Questions about a text of several lengths, with plain, exact and top-k attention side by side. */
export function startCommand(io: Io): CommandUnknownOpts {
  return modelCommand('start')
    .summary('the demo: plain, exact and top-k side by side')
    .description('The demo: plain, exact and top-k attention side by side, time and memory by length.')
    .usage('[--long] [options]')
    .option('--long', 'also the first question over the text four times in a row: some minutes more on a CPU')
    .option('--document <FILE>', 'the text (default: the included sample)')
    .option('--questions <FILE>', 'JSON: [{ "question": ..., "answer": ... }, ...]')
    .option('--attention-k <N>', 'keys that each query keeps', kept, DEFAULT_ATTENTION_K)
    .option('--feed-forward-k <N>', 'hidden units that each token keeps (default: a twelfth of them)', kept)
    .option('--report <FILE>', 'the HTML report (default: report/start.html of the demo)')
    .addHelpText('after', notes)
    .action((options) => start(options, io));
}

async function start(options: StartOptions, io: Io): Promise<void> {
  const settings = engineSettings(options);
  const { exact, topK } = requestsOf(options);
  const path = options.report ?? fileURLToPath(new URL('../../report/start.html', import.meta.url));
  requireWritable(path);
  const sample = await readSample(
    options.document ?? samplePaths.document,
    options.questions ?? samplePaths.questions,
  );
  const isJson = options.json === true;
  const say = (line: string): void => void (isJson || print(io, line));
  const opened: EngineInfo[] = [];
  const onOpened = (info: EngineInfo): void => {
    requireEngine(info);
    if (opened.length === 0) introduce(info, sample, say);
    opened.push(info);
  };
  const runs: Run[] = [];
  for (const { name, tasks } of lengthsOf(sample, options.long === true)) {
    const group: Run[] = [];
    let isAnnounced = false;
    for (const way of ways) {
      const onStart = (info: EngineInfo, tokens: number): void => {
        if (isAnnounced) return;
        isAnnounced = true;
        say(`\n${name}, ${formatCount(tokens)} tokens with the first question`);
        const warning = lengthWarning(info, tokens);
        if (warning !== undefined) say(warning);
      };
      const request = way === 'top-k' ? topK : exact;
      group.push(await runWay(way, tasks, { settings, request, io, isSilent: isJson, onOpened, onStart }));
    }
    // A process that was killed early may not have reported its length; it is that of the others.
    const tokens = Math.max(...group.map((run) => run.tokens));
    runs.push(...group.map((run) => ({ ...run, tokens })));
  }
  const [engine] = opened;
  const topKAnswer = runs.find(({ way }) => way === 'top-k')?.answers[0];
  if (engine === undefined || topKAnswer === undefined) throw new Error('nothing ran');
  const report: StartReport = {
    engine,
    document: shownPath(sample.documentPath),
    questions: sample.questions,
    kept: { attention: topKAnswer.attentionK, feedForward: topKAnswer.feedForwardK },
    runs,
    date: new Date().toISOString().slice(0, 10),
    command: `pnpm qa ${process.argv.slice(2).join(' ')}`,
  };
  writeFileAtomically(path, htmlReport(report));
  if (isJson) print(io, JSON.stringify({ ...report, report: path }));
  else print(io, `\n${summaryOf(report)}\n\nReport  ${shownPath(path)}`);
}

type Request = RunOptions['request'];

/** The requests of the ways: plain and exact share one. */
function requestsOf(options: StartOptions): { readonly exact: Request; readonly topK: Request } {
  const { attentionK, feedForwardK } = options;
  const common = { maxNewTokens: DEFAULT_MAX_NEW_TOKENS, ...budgetOf(options) };
  return {
    exact: { ...common, attentionK: 'exact', feedForwardK: 'exact' },
    topK: { ...common, attentionK, ...(feedForwardK !== undefined && { feedForwardK }) },
  };
}

/** The text at several lengths, each about four times the one before, so that growth shows. */
function lengthsOf(
  { document, questions }: Sample,
  isLong: boolean,
): readonly { readonly name: string; readonly tasks: readonly Task[] }[] {
  const quarter = questions.map((task) => ({
    ...task,
    context: passageAbout(document, task.question, document.length / 4),
  }));
  // A text of one or two paragraphs has no quarter.
  const isDivisible = quarter.every(({ context }) => context.length < document.length / 2);
  const whole = questions.map((task) => ({ ...task, context: document }));
  const fourfold = whole.slice(0, 1).map((task) => ({
    ...task,
    context: Array.from({ length: 4 }, () => document).join('\n\n'),
  }));
  return [
    ...(isDivisible ? [{ name: 'A quarter of the text', tasks: quarter }] : []),
    { name: 'The whole text', tasks: whole },
    ...(isLong ? [{ name: 'The text four times in a row', tasks: fourfold }] : []),
  ];
}

function introduce(info: EngineInfo, sample: Sample, say: (line: string) => void): void {
  say(`Engine   ${info.description}`);
  say(`Text     ${shownPath(sample.documentPath)}`);
  for (const [at, { question }] of sample.questions.entries())
    say(`${at === 0 ? 'Asked' : '     '}    ${at + 1}. ${question}`);
}

/** The demo is about the engine: if `auto` fell back to the slow backend, it fails. */
function requireEngine({ fallback }: EngineInfo): void {
  if (fallback === undefined) return;
  throw new TopKError('MISSING_PEER', 'the demo would run on the reference backend', {
    expected: 'WebGPU or ONNX Runtime',
    got: fallback,
    fix: 'Install onnxruntime-node, or accept the slow backend with --backend reference',
  });
}
