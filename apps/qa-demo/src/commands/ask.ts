import { formatBytes } from '@topk-attention/core';
import { type Command, commonOptions, modelOptions, type Option, type Values } from '../args/command.js';
import { seeHelp } from '../args/parse.js';
import { budgetOf, engineSettings } from '../args/settings.js';
import { UsageError } from '../args/usage-error.js';
import { kept, wholeNumber } from '../args/values.js';
import { readContexts } from '../datasets/contexts.js';
import type { AnswerRequest, EngineSettings } from '../engine/types.js';
import { type Io, note, print } from '../io.js';
import { AnswerStream } from '../output/answer-stream.js';
import { formatDuration } from '../output/progress.js';
import { EngineChild } from '../processes/engine-child.js';
import { compare } from './compare.js';
import { engineWarning, lengthWarning, requestWarnings, unknownTextWarning } from './notices.js';

export const DEFAULT_ATTENTION_K = 64;
export const DEFAULT_MAX_NEW_TOKENS = 20;

const options: {
  readonly question: Option & { readonly type: 'string' };
  readonly context: Option & { readonly type: 'string'; readonly multiple: true };
  readonly 'attention-k': Option & { readonly type: 'string' };
  readonly 'feed-forward-k': Option & { readonly type: 'string' };
  readonly 'max-new-tokens': Option & { readonly type: 'string' };
  readonly compare: Option & { readonly type: 'boolean' };
} & typeof modelOptions &
  typeof commonOptions = {
  question: { type: 'string', short: 'q', placeholder: 'TEXT', help: 'the question' },
  context: {
    type: 'string',
    short: 'c',
    multiple: true,
    placeholder: 'FILE',
    help: 'a text to answer from; several are joined; - is standard input (default: what is piped in)',
  },
  ...modelOptions,
  'attention-k': {
    type: 'string',
    placeholder: 'N|exact',
    help: `keys that each query keeps (default ${DEFAULT_ATTENTION_K}); exact keeps all`,
  },
  'feed-forward-k': {
    type: 'string',
    placeholder: 'N|exact',
    help: 'hidden units that each token keeps (default: a twelfth of them); exact keeps all',
  },
  'max-new-tokens': {
    type: 'string',
    placeholder: 'N',
    help: `longest answer in tokens (default ${DEFAULT_MAX_NEW_TOKENS})`,
  },
  compare: {
    type: 'boolean',
    help: 'run exact and top-k, each in a process of its own: time, peak memory, plan, agreement',
  },
  ...commonOptions,
};

/** `ask`: one question, its answer streamed to standard output. */
export const ask: Command<typeof options> = {
  name: 'ask',
  summary: 'answers a question about a text',
  usage: '--question TEXT [--context FILE]... [options]',
  options,
  notes: [
    'The model that comes along knows sentences such as "Mary went to the kitchen." and questions such as "Where is Mary?";',
    'for anything else name a T5 or UnifiedQA checkpoint with --model.',
    '',
    'Examples:',
    '  pnpm qa ask --question "Where is Mary?" --context apps/qa-demo/data/story.txt',
    '  cat chapter*.txt | pnpm qa ask --question "Where is Mary?" --compare',
  ],

  async run(values, io) {
    const settings = engineSettings(values);
    const request = await requestOf(values, io);
    if (values.compare) return compare(settings, request, values.json === true, io);
    return answerOnce(settings, request, values.json === true, io);
  },
};

async function requestOf(values: Values<typeof options>, io: Io): Promise<AnswerRequest> {
  const { question, context = [] } = values;
  if (question === undefined || question.trim() === '') {
    throw new UsageError('ask: --question is missing', seeHelp('ask'));
  }
  const units = values['feed-forward-k'];
  const numbers = {
    attentionK: kept('attention-k', values['attention-k'] ?? String(DEFAULT_ATTENTION_K)),
    ...(units !== undefined && { feedForwardK: kept('feed-forward-k', units) }),
    maxNewTokens: wholeNumber('max-new-tokens', values['max-new-tokens'] ?? String(DEFAULT_MAX_NEW_TOKENS)),
    ...budgetOf(values),
  };
  return { question: question.trim(), context: await readContexts(context, io), ...numbers };
}

async function answerOnce(
  settings: EngineSettings,
  request: AnswerRequest,
  isJson: boolean,
  io: Io,
): Promise<number> {
  const stream = new AnswerStream(io, isJson, '');
  const warnings: string[] = [];
  const warn = (text: string | undefined): void => {
    if (text === undefined) return;
    warnings.push(text);
    stream.note(text);
  };
  try {
    const engine = await EngineChild.start(settings, io.signal, stream.events);
    try {
      warn(engineWarning(engine.info));
      for (const warning of requestWarnings(settings, request)) warn(warning);
      const onStart = (tokens: number, known: number): void => {
        warn(unknownTextWarning(known));
        warn(lengthWarning(engine.info, tokens));
      };
      const answer = await engine.answer(request, { ...stream.events, onStart }, io.signal);
      stream.end();
      if (isJson) {
        print(io, JSON.stringify({ question: request.question, ...answer, engine: engine.info, warnings }));
      } else if (io.stderr.isTTY) {
        const { attentionK, feedForwardK, promptTokens, milliseconds, peakBytes } = answer;
        note(io, `${promptTokens} tokens in ${formatDuration(milliseconds)}, peak ${formatBytes(peakBytes)}`);
        note(io, `attention k ${attentionK}, feed-forward k ${feedForwardK}; ${engine.info.description}`);
      }
      return 0;
    } finally {
      await engine.dispose();
    }
  } catch (error) {
    stream.fail();
    throw error;
  }
}
