import { fileURLToPath } from 'node:url';
import { TopKError } from '@topk-attention/core';
import { type Command, commonOptions, modelOptions, type Option, type Values } from '../args/command.js';
import { budgetOf, engineSettings } from '../args/settings.js';
import { kept } from '../args/values.js';
import { readSample, type Sample, samplePaths } from '../datasets/sample.js';
import { passageAbout } from '../demo/passage.js';
import { type Run, type StartReport, ways } from '../demo/report.js';
import { type RunOptions, runWay, type Task } from '../demo/run-way.js';
import { summaryOf } from '../demo/summary.js';
import type { EngineInfo } from '../engine/types.js';
import { print } from '../io.js';
import { shownPath } from '../output/shown-path.js';
import { requireWritable, writeFileAtomically } from '../output/write-file.js';
import { htmlReport } from '../report/html.js';
import { DEFAULT_ATTENTION_K, DEFAULT_MAX_NEW_TOKENS } from './ask.js';
import { lengthWarning } from './notices.js';

type Text = Option & { readonly type: 'string' };

const options: {
  readonly long: Option & { readonly type: 'boolean' };
  readonly document: Text;
  readonly questions: Text;
  readonly 'attention-k': Text;
  readonly 'feed-forward-k': Text;
  readonly report: Text;
} & typeof modelOptions &
  typeof commonOptions = {
  long: {
    type: 'boolean',
    help: 'also the first question over the text four times in a row: some minutes more on a CPU',
  },
  document: { type: 'string', placeholder: 'FILE', help: 'the text (default: the sample that comes along)' },
  questions: { type: 'string', placeholder: 'FILE', help: 'JSON: [{ "question": ..., "answer": ... }, ...]' },
  'attention-k': {
    type: 'string',
    placeholder: 'N',
    help: `keys that each query keeps (default ${DEFAULT_ATTENTION_K})`,
  },
  'feed-forward-k': {
    type: 'string',
    placeholder: 'N',
    help: 'hidden units that each token keeps (default: a twelfth of them)',
  },
  report: {
    type: 'string',
    placeholder: 'FILE',
    help: 'the HTML report (default: report/start.html of the demo)',
  },
  ...modelOptions,
  ...commonOptions,
};

/** `start`: the demo. Questions about a text of several lengths, with plain, exact and top-k attention side by side. */
export const start: Command<typeof options> = {
  name: 'start',
  summary: 'the demo: plain, exact and top-k attention side by side, time and memory by length',
  usage: '[--long] [options]',
  options,
  notes: [
    'Asks all questions about a quarter of the text and about all of it, every way at every length in a process of its own.',
    'Runs on WebGPU where there is a GPU, else on ONNX Runtime; fails where neither is there, unless --backend asks for another.',
  ],

  async run(values, io) {
    const settings = engineSettings(values);
    const { exact, topK } = requestsOf(values);
    const path = values.report ?? fileURLToPath(new URL('../../report/start.html', import.meta.url));
    requireWritable(path);
    const sample = await readSample(
      values.document ?? samplePaths.document,
      values.questions ?? samplePaths.questions,
    );
    const isJson = values.json === true;
    const say = (line: string): void => void (isJson || print(io, line));
    const opened: EngineInfo[] = [];
    const onOpened = (info: EngineInfo): void => {
      requireEngine(info);
      if (opened.length === 0) introduce(info, sample, say);
      opened.push(info);
    };
    const runs: Run[] = [];
    for (const { name, tasks } of lengthsOf(sample, values.long === true)) {
      const group: Run[] = [];
      let isAnnounced = false;
      for (const way of ways) {
        const onStart = (info: EngineInfo, tokens: number): void => {
          if (isAnnounced) return;
          isAnnounced = true;
          say(`\n${name}, ${tokens.toLocaleString('en-US')} tokens with the first question`);
          const warning = lengthWarning(info, tokens);
          if (warning !== undefined) say(warning);
        };
        const request = way === 'top-k' ? topK : exact;
        group.push(await runWay(way, tasks, { settings, request, io, isSilent: isJson, onOpened, onStart }));
      }
      // A process that was killed early may not have told its length; it is that of the others.
      const tokens = Math.max(...group.map((run) => run.tokens));
      runs.push(...group.map((run) => ({ ...run, tokens })));
    }
    const [engine] = opened;
    const kept = runs.find(({ way }) => way === 'top-k')?.answers[0];
    if (engine === undefined || kept === undefined) throw new Error('nothing ran');
    const report: StartReport = {
      engine,
      document: shownPath(sample.documentPath),
      questions: sample.questions,
      kept: { attention: kept.attentionK, feedForward: kept.feedForwardK },
      runs,
      date: new Date().toISOString().slice(0, 10),
      command: `pnpm qa ${process.argv.slice(2).join(' ')}`,
    };
    writeFileAtomically(path, htmlReport(report));
    if (isJson) print(io, JSON.stringify({ ...report, report: path }));
    else print(io, `\n${summaryOf(report)}\n\nReport  ${shownPath(path)}`);
    return 0;
  },
};

type Request = RunOptions['request'];

/** What is asked of each way. */
function requestsOf(values: Values<typeof options>): { readonly exact: Request; readonly topK: Request } {
  const units = values['feed-forward-k'];
  const common = { maxNewTokens: DEFAULT_MAX_NEW_TOKENS, ...budgetOf(values) };
  return {
    exact: { ...common, attentionK: 'exact', feedForwardK: 'exact' },
    topK: {
      ...common,
      attentionK: kept('attention-k', values['attention-k'] ?? String(DEFAULT_ATTENTION_K)),
      ...(units !== undefined && { feedForwardK: kept('feed-forward-k', units) }),
    },
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
  // A text of a paragraph or two has no quarter.
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

/** The demo is of the engine: where `auto` fell back to the slow backend, it fails. */
function requireEngine({ fallback }: EngineInfo): void {
  if (fallback === undefined) return;
  throw new TopKError('MISSING_PEER', 'the demo would run on the reference backend', {
    expected: 'WebGPU or ONNX Runtime',
    got: fallback,
    fix: 'Install onnxruntime-node, or accept the slow backend with --backend reference',
  });
}
