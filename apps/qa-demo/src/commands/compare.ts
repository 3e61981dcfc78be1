import { formatBytes } from '@topk-attention/core';
import { normalizeAnswer } from '@topk-attention/models';
import {
  type Answer,
  type AnswerRequest,
  type EngineInfo,
  type EngineSettings,
  largestPlan,
} from '../engine/types.js';
import { type Io, print } from '../io.js';
import { AnswerStream } from '../output/answer-stream.js';
import { formatDuration } from '../output/progress.js';
import { renderTable } from '../output/table.js';
import { EngineChild } from '../processes/engine-child.js';
import { engineWarning, lengthWarning, requestWarnings, unknownTextWarning } from './notices.js';

/** Exact and top-k one after the other, each in a process of its own, so that neither peak holds the other's memory. */
export async function compare(
  settings: EngineSettings,
  request: AnswerRequest,
  isJson: boolean,
  io: Io,
): Promise<number> {
  const warnings = new Set<string>();
  const runInChild = async (
    name: string,
    own: AnswerRequest,
  ): Promise<{ readonly answer: Answer; readonly info: EngineInfo }> => {
    const stream = new AnswerStream(io, isJson, `${name}: `);
    const warn = (text: string | undefined): void => {
      if (text === undefined || warnings.has(text)) return;
      warnings.add(text);
      stream.note(text);
    };
    let child: EngineChild | undefined;
    try {
      child = await EngineChild.start(settings, io.signal, stream.events);
      const { info } = child;
      warn(engineWarning(info));
      for (const warning of requestWarnings(settings, own)) warn(warning);
      const onStart = (tokens: number, known: number): void => {
        warn(unknownTextWarning(known));
        warn(lengthWarning(info, tokens));
      };
      const answer = await child.answer(own, { ...stream.events, onStart }, io.signal);
      stream.end();
      return { answer, info };
    } catch (error) {
      stream.fail();
      throw error;
    } finally {
      await child?.dispose();
    }
  };
  const exact = await runInChild('exact', { ...request, attentionK: 'exact', feedForwardK: 'exact' });
  const topK = await runInChild('top-k', request);
  const isAgreed = normalizeAnswer(exact.answer.text) === normalizeAnswer(topK.answer.text);

  if (isJson) {
    const { question } = request;
    const engine = topK.info;
    const runs = { exact: exact.answer, topK: topK.answer };
    print(io, JSON.stringify({ question, ...runs, agree: isAgreed, engine, warnings: [...warnings] }));
    return 0;
  }
  const rows = [exact.answer, topK.answer].map((answer) => [
    answer === exact.answer ? 'exact' : 'top-k',
    String(answer.attentionK),
    String(answer.feedForwardK),
    formatDuration(answer.milliseconds),
    formatBytes(answer.peakBytes),
    formatBytes(largestPlan(answer)),
    answer.text,
  ]);
  print(io, '');
  print(
    io,
    renderTable(
      [
        { title: '' },
        { title: 'attention k', align: 'right' },
        { title: 'feed-forward k', align: 'right' },
        { title: 'time', align: 'right' },
        { title: topK.info.memory === 'gpu' ? 'GPU peak' : 'process peak', align: 'right' },
        { title: 'planned', align: 'right' },
        { title: 'answer', maxWidth: 50 },
      ],
      rows,
    ),
  );
  print(io, `\nThe answers ${isAgreed ? 'agree' : 'differ'}. ${topK.answer.promptTokens} tokens.`);
  print(io, `${topK.info.description}\n`);
  for (const answer of [exact.answer, topK.answer]) {
    print(io, `Plan of ${answer === exact.answer ? 'exact' : 'top-k'}${keepsAll(answer)}\n`);
    for (const { layer, text } of answer.plans) print(io, `${layer}: ${text}\n`);
  }
  return 0;
}

/** With a text this short attention leaves nothing out, and is exact whatever k says. */
function keepsAll({ attentionK, promptTokens }: Answer): string {
  if (attentionK === 'exact' || attentionK < promptTokens) return '';
  return ` (k ${attentionK} covers all ${promptTokens} keys: its attention is exact)`;
}
