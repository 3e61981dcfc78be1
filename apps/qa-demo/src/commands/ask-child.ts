import { backendWarning } from '@topk-attention/app-kit';
import type { Io } from '@topk-attention/app-kit/node';
import { EngineChild } from '../engine/engine-child.js';
import type { Answer, AnswerRequest, EngineInfo, EngineSettings } from '../engine/protocol.js';
import { AnswerStream } from '../output/answer-stream.js';
import { lengthWarning, requestWarnings, unknownTextWarning } from './notices.js';

export interface AskOptions {
  readonly io: Io;
  /** Write nothing: answer and warnings will be part of a JSON object. */
  readonly isSilent: boolean;
  /** Shown before the answer. */
  readonly label: string;
  /** Warnings already given, which are not repeated; new ones are added. */
  readonly warnings: Set<string>;
}

/** Asks a model in a separate process, and streams its answer to standard output. */
export async function askChild(
  settings: EngineSettings,
  request: AnswerRequest,
  { io, isSilent, label, warnings }: AskOptions,
): Promise<{ readonly answer: Answer; readonly info: EngineInfo }> {
  const stream = new AnswerStream(io, isSilent, label);
  const warn = (text: string | undefined): void => {
    if (text === undefined || warnings.has(text)) return;
    warnings.add(text);
    stream.note(text);
  };
  let child: EngineChild | undefined;
  try {
    child = await EngineChild.start(settings, io.signal, (event) => stream.show(event));
    const { info } = child;
    warn(backendWarning(info));
    for (const warning of requestWarnings(settings, request)) warn(warning);
    const answer = await child.answer(request, io.signal, (event) => {
      if (event.type !== 'started') return stream.show(event);
      warn(unknownTextWarning(event.known));
      warn(lengthWarning(info, event.promptTokens));
    });
    stream.end();
    return { answer, info };
  } catch (error) {
    stream.fail();
    throw error;
  } finally {
    await child?.dispose();
  }
}
