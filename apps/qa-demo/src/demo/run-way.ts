import { formatDuration, median, reportOf } from '@topk-attention/app-kit';
import type { Io } from '@topk-attention/app-kit/node';
import { exactMatch } from '@topk-attention/models';
import { EngineChild } from '../engine/engine-child.js';
import type { Answer, AnswerRequest, EngineInfo, EngineSettings } from '../engine/protocol.js';
import { AnswerStream } from '../output/answer-stream.js';
import type { Run, Way } from './report.js';

/** A question with the text to answer it from. */
export interface Task {
  readonly question: string;
  readonly context: string;
  /** The right answer. */
  readonly answer: string;
}

export interface RunOptions {
  readonly settings: EngineSettings;
  /** What all questions have in common. */
  readonly request: Omit<AnswerRequest, 'question' | 'context'>;
  readonly io: Io;
  /** Write nothing to standard output. */
  readonly isSilent: boolean;
  /** Called once the model is loaded. */
  readonly onOpened: (info: EngineInfo) => void;
  /** Called with the tokens of the first prompt. */
  readonly onStart: (info: EngineInfo, tokens: number) => void;
}

/**
 * Asks all questions in a new process, one after the other, and ends it. Plain attention that does not fit, or is killed for
 * its memory, is a result; everything else that goes wrong is an error.
 */
export async function runWay(way: Way, tasks: readonly Task[], options: RunOptions): Promise<Run> {
  const { io, isSilent, request } = options;
  const settings = { ...options.settings, isPlain: way === 'plain' };
  const answers: Answer[] = [];
  let tokens = 0;
  let right = 0;
  let child: EngineChild | undefined;
  try {
    child = await EngineChild.start(settings, io.signal);
    const { info } = child;
    options.onOpened(info);
    for (const [at, { question, context, answer: expected }] of tasks.entries()) {
      const stream = new AnswerStream(io, isSilent, `   ${way.padEnd(5)}  ${at + 1}. `);
      try {
        const answer = await child.answer({ ...request, question, context }, io.signal, (event) => {
          if (event.type !== 'started') return stream.show(event);
          tokens = Math.max(tokens, event.promptTokens);
          if (at === 0) options.onStart(info, event.promptTokens);
        });
        stream.end(`  (${formatDuration(answer.milliseconds)})`);
        answers.push(answer);
        right += exactMatch(answer.text, [expected]);
      } catch (error) {
        stream.fail();
        throw error;
      }
    }
    return {
      way,
      tokens,
      answers,
      right,
      milliseconds: median(answers.map(({ milliseconds }) => milliseconds)),
      peakBytes: Math.max(...answers.map(({ peakBytes }) => peakBytes)),
      loadedBytes: info.loadedBytes,
    };
  } catch (error) {
    const report = reportOf(error);
    const summary = memoryFailures[report.code];
    if (way !== 'plain' || summary === undefined || io.signal.aborted) throw error;
    const message = report.code === 'DOES_NOT_FIT' ? report.message.replace(/\.$/, '') : 'ran out of memory';
    if (!isSilent) io.stdout.write(`   ${way}  ${message}\n`);
    const failure = { summary, message };
    return { way, tokens, answers: [], right: 0, milliseconds: 0, peakBytes: 0, loadedBytes: 0, failure };
  } finally {
    await child?.dispose();
  }
}

const memoryFailures: { readonly [code: string]: string | undefined } = {
  DOES_NOT_FIT: 'does not fit',
  OUT_OF_MEMORY: 'out of memory',
};
