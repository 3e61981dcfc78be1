import { formatDuration } from '@topk-attention/app-kit';
import {
  type CommandUnknownOpts,
  type Io,
  nonBlank,
  note,
  positiveNumber,
  print,
  seedNumber,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import { formatBytes } from '@topk-attention/core';
import { readContexts } from '../datasets/contexts.js';
import type { AnswerRequest, EngineSettings } from '../engine/protocol.js';
import { askChild } from './ask-child.js';
import { compare } from './compare.js';
import { kept } from './kept-values.js';
import {
  budgetOf,
  DEFAULT_ATTENTION_K,
  DEFAULT_MAX_NEW_TOKENS,
  engineSettings,
  modelCommand,
} from './model-command.js';

const notes = `
The included model knows sentences such as "Mary went to the kitchen." and questions such as "Where is Mary?";
for anything else name a T5 or UnifiedQA checkpoint with --model. One of the Hugging Face Hub is downloaded once and kept
in its cache (HF_HUB_CACHE); HF_ENDPOINT names a mirror, HF_TOKEN opens private ones.

Examples:
  pnpm qa ask --question "Where is Mary?" --context apps/qa-demo/data/story.txt
  cat chapter*.txt | pnpm qa ask --question "Where is Mary?" --compare
  pnpm qa ask --question "Who wrote it?" --context book.txt --model google/flan-t5-small --offline`;

/** `ask`: one question, its answer streamed to standard output. */
export function askCommand(io: Io): CommandUnknownOpts {
  const command = modelCommand('ask')
    .summary('answers a question about a text')
    .description('Answers a question about a text.')
    .usage('--question TEXT [--context FILE]... [options]')
    .requiredOption('-q, --question <TEXT>', 'the question', nonBlank)
    .option(
      '-c, --context <FILE...>',
      'a text to answer from; several are joined; - is standard input (default: what is piped in)',
    )
    .option(
      '--attention-k <N|exact>',
      'keys that each query keeps; exact keeps all',
      kept,
      DEFAULT_ATTENTION_K,
    )
    .option(
      '--feed-forward-k <N|exact>',
      'hidden units that each token keeps (default: a twelfth of them); exact keeps all',
      kept,
    )
    .option('--max-new-tokens <N>', 'longest answer in tokens', wholeNumber, DEFAULT_MAX_NEW_TOKENS)
    .option(
      '--beams <N>',
      'beam search with so many beams (default: the best token of each step)',
      wholeNumber,
    )
    .option('--sample', 'draw each token by its probability')
    .option('--temperature <T>', 'with --sample: below 1 likelier tokens, above 1 rarer ones', positiveNumber)
    .option('--seed <N>', 'with --sample: same seed, same answer (default: any)', seedNumber)
    .option(
      '--compare',
      'run exact and top-k, each in a process of its own: time, peak memory, plan, agreement',
    )
    .addHelpText('after', notes);
  return command.action(async (options) => {
    const { beams, sample, temperature, seed } = options;
    if (sample && beams !== undefined) command.error('--sample and --beams exclude each other');
    if (!sample && temperature !== undefined) command.error('--temperature needs --sample');
    if (!sample && seed !== undefined) command.error('--seed needs --sample');
    const { question, context = [], attentionK, feedForwardK, maxNewTokens, json: isJson = false } = options;
    const request: AnswerRequest = {
      question,
      context: await readContexts(context, io),
      attentionK,
      ...(feedForwardK !== undefined && { feedForwardK }),
      maxNewTokens,
      ...(beams !== undefined && { strategy: { numBeams: beams } }),
      // The seed is chosen here, so that all runs of a comparison draw alike.
      ...(sample && {
        strategy: {
          doSample: true,
          seed: seed ?? Math.floor(Math.random() * 2 ** 32),
          ...(temperature !== undefined && { temperature }),
        },
      }),
      ...budgetOf(options),
    };
    const run = options.compare ? compare : answerOnce;
    await run(engineSettings(options), request, isJson, io);
  });
}

async function answerOnce(
  settings: EngineSettings,
  request: AnswerRequest,
  isJson: boolean,
  io: Io,
): Promise<void> {
  const warnings = new Set<string>();
  const { answer, info } = await askChild(settings, request, { io, isSilent: isJson, label: '', warnings });
  const { question, strategy } = request;
  if (isJson) {
    const asked = { question, ...answer, ...(strategy && { strategy }) };
    print(io, JSON.stringify({ ...asked, engine: info, warnings: [...warnings] }));
  } else if (io.stderr.isTTY) {
    const { attentionK, feedForwardK, promptTokens, milliseconds, peakBytes } = answer;
    note(io, `${promptTokens} tokens in ${formatDuration(milliseconds)}, peak ${formatBytes(peakBytes)}`);
    note(io, `attention k ${attentionK}, feed-forward k ${feedForwardK}; ${info.description}`);
  }
}
