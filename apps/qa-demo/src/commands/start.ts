import { fileURLToPath } from 'node:url';
import { formatBytes, TopKError } from '@topk-attention/core';
import { exactMatch, normalizeAnswer } from '@topk-attention/models';
import { type Command, commonOptions, modelOptions, type Option } from '../args/command.js';
import { budgetOf, engineSettings } from '../args/settings.js';
import { kept } from '../args/values.js';
import { readSample, samplePaths } from '../datasets/sample.js';
import { type Answer, type AnswerRequest, largestPlan } from '../engine/types.js';
import { type Io, print } from '../io.js';
import { AnswerStream } from '../output/answer-stream.js';
import { formatDuration } from '../output/progress.js';
import { shownPath } from '../output/shown-path.js';
import { renderTable } from '../output/table.js';
import { writeFileAtomically } from '../output/write-file.js';
import { EngineChild } from '../processes/engine-child.js';
import { htmlReport, type StartReport, type StartRow } from '../report/html.js';
import { DEFAULT_ATTENTION_K, DEFAULT_MAX_NEW_TOKENS } from './ask.js';
import { lengthWarning } from './notices.js';

type Text = Option & { readonly type: 'string' };

const options: {
  readonly document: Text;
  readonly questions: Text;
  readonly 'attention-k': Text;
  readonly 'feed-forward-k': Text;
  readonly report: Text;
} & typeof modelOptions &
  typeof commonOptions = {
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

/** `start`: the demo. Questions about a long text, each answered exact and top-k, side by side. */
export const start: Command<typeof options> = {
  name: 'start',
  summary: 'the demo: questions about a long text, exact and top-k side by side',
  usage: '[options]',
  options,
  notes: [
    'Exact and top-k run in a process of their own each. Fails when ONNX Runtime is not there, unless --backend asks for another.',
  ],

  async run(values, io) {
    const settings = engineSettings(values);
    const units = values['feed-forward-k'];
    const common = { maxNewTokens: DEFAULT_MAX_NEW_TOKENS, ...budgetOf(values) };
    const topKRequest = {
      ...common,
      attentionK: kept('attention-k', values['attention-k'] ?? String(DEFAULT_ATTENTION_K)),
      ...(units !== undefined && { feedForwardK: kept('feed-forward-k', units) }),
    };
    const exactRequest = { ...common, attentionK: 'exact', feedForwardK: 'exact' } as const;
    const sample = await readSample(
      values.document ?? samplePaths.document,
      values.questions ?? samplePaths.questions,
    );
    const isJson = values.json === true;
    const say = (line: string): void => void (isJson || print(io, line));

    const children: EngineChild[] = [];
    const open = async (): Promise<EngineChild> => {
      const child = await EngineChild.start(settings, io.signal);
      children.push(child);
      requireEngine(child);
      return child;
    };
    try {
      const exact = await open();
      const topK = await open();
      say(`Engine   ${topK.info.description}`);
      say(`Text     ${shownPath(sample.documentPath)}`);
      const rows: StartRow[] = [];
      for (const [at, { question, answer: gold }] of sample.questions.entries()) {
        const text = { question, context: sample.document };
        const onStart = (tokens: number): void => {
          if (at === 0) say(`         ${tokens.toLocaleString('en-US')} tokens with the first question`);
          const warning = at === 0 ? lengthWarning(topK.info, tokens) : undefined;
          if (warning !== undefined) say(warning);
          say(`\n${at + 1}. ${question}`);
        };
        const exactAnswer = await streamed(
          exact,
          { ...text, ...exactRequest },
          '   exact  ',
          isJson,
          io,
          onStart,
        );
        const topKAnswer = await streamed(topK, { ...text, ...topKRequest }, '   top-k  ', isJson, io);
        rows.push({
          question,
          gold,
          exact: exactAnswer,
          topK: topKAnswer,
          agree: normalizeAnswer(exactAnswer.text) === normalizeAnswer(topKAnswer.text),
        });
      }
      const report = { engine: topK.info, document: shownPath(sample.documentPath), rows };
      const path = values.report ?? fileURLToPath(new URL('../../report/start.html', import.meta.url));
      writeFileAtomically(path, htmlReport(report));
      if (isJson) print(io, JSON.stringify({ ...report, report: path }));
      else printSummary(report, path, io);
      return 0;
    } finally {
      await Promise.all(children.map((child) => child.dispose()));
    }
  },
};

/** The demo is of the engine: where `auto` fell back to the slow backend, it fails. */
function requireEngine({ info }: EngineChild): void {
  if (info.fallback === undefined) return;
  throw new TopKError('MISSING_PEER', 'the demo would run on the reference backend', {
    expected: 'ONNX Runtime',
    got: info.fallback,
    fix: 'Install onnxruntime-node, or accept the slow backend with --backend reference',
  });
}

/** One answer, written to standard output behind its label as it is made. */
async function streamed(
  child: EngineChild,
  request: AnswerRequest,
  label: string,
  isJson: boolean,
  io: Io,
  onStart: (promptTokens: number) => void = () => {},
): Promise<Answer> {
  const stream = new AnswerStream(io, isJson, label);
  try {
    const answer = await child.answer(request, { ...stream.events, onStart }, io.signal);
    stream.end(`  (${formatDuration(answer.milliseconds)})`);
    return answer;
  } catch (error) {
    stream.fail();
    throw error;
  }
}

function printSummary({ rows }: StartReport, reportPath: string, io: Io): void {
  const cells = rows.map(({ question, gold, exact, topK, agree }) => [
    question,
    gold,
    exact.text,
    topK.text,
    agree ? 'yes' : 'no',
    String(Math.round(exact.milliseconds)),
    String(Math.round(topK.milliseconds)),
    mebibytes(exact.peakBytes),
    mebibytes(topK.peakBytes),
  ]);
  const columns = [
    { title: 'question', maxWidth: 36 },
    { title: 'gold', maxWidth: 16 },
    { title: 'exact', maxWidth: 16 },
    { title: 'top-k', maxWidth: 16 },
    { title: 'agree' },
    { title: 'exact ms', align: 'right' },
    { title: 'top-k ms', align: 'right' },
    { title: 'exact MiB', align: 'right' },
    { title: 'top-k MiB', align: 'right' },
  ] as const;
  print(io, `\n${renderTable(columns, cells)}`);
  const count = (isCounted: (row: StartRow) => boolean): string =>
    `${rows.filter(isCounted).length} of ${rows.length}`;
  const last = rows.at(-1);
  print(
    io,
    [
      '',
      `Right: exact ${count((row) => exactMatch(row.exact.text, [row.gold]) === 1)}, top-k ${count((row) => exactMatch(row.topK.text, [row.gold]) === 1)}; the two agree on ${count((row) => row.agree)}.`,
      `top-k keeps ${last?.topK.attentionK} keys and ${last?.topK.feedForwardK} hidden units a token. MiB: peak of the process so far, engine and model included.`,
      `Planned for the largest call of an encoder layer, beyond its inputs: exact ${plannedBytes(last?.exact)}, top-k ${plannedBytes(last?.topK)}.`,
      `Report  ${shownPath(reportPath)}`,
    ].join('\n'),
  );
}

function plannedBytes(answer: Answer | undefined): string {
  return formatBytes(answer === undefined ? 0 : largestPlan(answer));
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
