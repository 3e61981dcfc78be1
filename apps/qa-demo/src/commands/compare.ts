import { formatDuration, textTable } from '@topk-attention/app-kit';
import { type Io, print } from '@topk-attention/app-kit/node';
import { formatBytes } from '@topk-attention/core';
import { normalizeAnswer } from '@topk-attention/models';
import { type Answer, type AnswerRequest, type EngineSettings, largestPlan } from '../engine/protocol.js';
import { askChild } from './ask-child.js';

/** Exact and top-k one after the other, each in its own process, so that neither peak includes the other's memory. */
export async function compare(
  settings: EngineSettings,
  request: AnswerRequest,
  isJson: boolean,
  io: Io,
): Promise<void> {
  const warnings = new Set<string>();
  const ask = (label: string, own: AnswerRequest): ReturnType<typeof askChild> =>
    askChild(settings, own, { io, isSilent: isJson, label, warnings });
  const exact = await ask('exact: ', { ...request, attentionK: 'exact', feedForwardK: 'exact' });
  const topK = await ask('top-k: ', request);
  const isAgreed = normalizeAnswer(exact.answer.text) === normalizeAnswer(topK.answer.text);

  if (isJson) {
    const { question } = request;
    const engine = topK.info;
    const runs = { exact: exact.answer, topK: topK.answer };
    print(io, JSON.stringify({ question, ...runs, agree: isAgreed, engine, warnings: [...warnings] }));
    return;
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
    textTable({
      columns: [
        { title: '' },
        { title: 'attention k', align: 'right' },
        { title: 'feed-forward k', align: 'right' },
        { title: 'time', align: 'right' },
        { title: topK.info.memory === 'gpu' ? 'GPU peak' : 'process peak', align: 'right' },
        { title: 'planned', align: 'right' },
        { title: 'answer', maxWidth: 50 },
      ],
      rows,
    }),
  );
  print(io, `\nThe answers ${isAgreed ? 'agree' : 'differ'}. ${topK.answer.promptTokens} tokens.`);
  print(io, `${topK.info.description}\n`);
  for (const answer of [exact.answer, topK.answer]) {
    print(io, `Plan of ${answer === exact.answer ? 'exact' : 'top-k'}${keepsAll(answer)}\n`);
    for (const { layer, text } of answer.plans) print(io, `${layer}: ${text}\n`);
  }
}

/** With a text this short, attention leaves nothing out and is exact whatever k is. */
function keepsAll({ attentionK, promptTokens }: Answer): string {
  if (attentionK === 'exact' || attentionK < promptTokens) return '';
  return ` (k ${attentionK} covers all ${promptTokens} keys: its attention is exact)`;
}
