import { type ErrorReport, reportOf } from './errors.js';

/** One kind of call that an engine answers. All three are plain data: they travel as messages. */
export interface Call {
  readonly argument: unknown;
  readonly result: unknown;
  /** Sent any number of times before the result, such as progress. */
  readonly event: unknown;
}

/** All calls that an engine answers, by name. An app declares its own. */
export type Contract<C> = { readonly [N in keyof C]: Call };

/** From a host to its engine. A host makes one call at a time: the next follows the result or error of the last. */
export interface ToEngine<C extends Contract<C>, N extends keyof C = keyof C> {
  readonly call: N;
  readonly argument: C[N]['argument'];
}

/** From an engine to its host: events, then a result or an error. */
export type FromEngine<C extends Contract<C>, N extends keyof C = keyof C> =
  | { readonly event: C[N]['event'] }
  | { readonly result: C[N]['result'] }
  | { readonly error: ErrorReport };

/** Options of a host's call. */
export interface CallOptions<Event> {
  /** An abort ends the engine at once. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: Event) => void;
}

/**
 * What an engine does for each call. It need not heed an abort: a host that no longer wants the result ends the
 * engine, which takes effect even while the engine is computing and reads no messages.
 */
export type Handlers<C extends Contract<C>> = {
  readonly [N in keyof C]: (
    argument: C[N]['argument'],
    onEvent: (event: C[N]['event']) => void,
  ) => Promise<C[N]['result']>;
};

/**
 * The engine's side of one call. The transport, a process's channel or a Worker's, passes each message to this
 * function and sends its replies. Never throws: errors are replies.
 */
export async function answerCall<C extends Contract<C>, N extends keyof C>(
  handlers: Handlers<C>,
  { call, argument }: ToEngine<C, N>,
  send: (reply: FromEngine<C, N>) => void,
): Promise<void> {
  try {
    send({ result: await handlers[call](argument, (event) => send({ event })) });
  } catch (error) {
    send({ error: reportOf(error) });
  }
}
