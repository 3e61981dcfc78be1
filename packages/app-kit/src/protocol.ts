import { type ErrorReport, reportOf } from './errors.js';

/** One thing that an engine can be asked to do. All three are plain data: they travel as messages. */
export interface Call {
  readonly argument: unknown;
  readonly result: unknown;
  /** What may be told any number of times before the result, such as progress. */
  readonly event: unknown;
}

/** Everything that an engine can be asked to do, by name. An app declares its own. */
export type Contract<C> = { readonly [N in keyof C]: Call };

/** From a host to its engine. A host asks one thing at a time: the next call comes after the result or error of the last. */
export interface ToEngine<C extends Contract<C>, N extends keyof C = keyof C> {
  readonly call: N;
  readonly argument: C[N]['argument'];
}

/** From an engine to its host: events, then a result or an error. */
export type FromEngine<C extends Contract<C>, N extends keyof C = keyof C> =
  | { readonly event: C[N]['event'] }
  | { readonly result: C[N]['result'] }
  | { readonly error: ErrorReport };

/**
 * What an engine does for each call. It need not heed an abort: a host that no longer wants the result ends the engine, which
 * takes effect even while the engine computes and hears nothing.
 */
export type Handlers<C extends Contract<C>> = {
  readonly [N in keyof C]: (
    argument: C[N]['argument'],
    onEvent: (event: C[N]['event']) => void,
  ) => Promise<C[N]['result']>;
};

/**
 * The engine's side of one call. Whatever carries the messages, a process's channel or a Worker's, passes each to this and
 * sends what comes back. Never throws: errors are replies.
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
