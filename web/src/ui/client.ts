/** The page's side of the worker: one promise per task. */

import type { Reply, Tasks } from "../messages.ts";
import { UserMessage } from "../io/types.ts";

interface Waiting {
  resolve(output: unknown): void;
  reject(error: Error): void;
  report(done: number, total: number): void;
}

export class Client {
  private readonly worker: Promise<Worker>;
  private readonly waiting = new Map<number, Waiting>();
  private count = 0;

  constructor(script: Promise<Uint8Array<ArrayBuffer>>) {
    this.worker = script.then((bytes) => this.listening(bytes));
  }

  /** Have a task done. Rejects with a UserMessage; null where a later request made this one needless. */
  run<Name extends keyof Tasks>(
    task: Name,
    input: Tasks[Name][0],
    report: (done: number, total: number) => void = () => undefined,
  ): Promise<Tasks[Name][1] | null> {
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (output: unknown) => void, reject, report });
      this.worker.then((worker) => worker.postMessage({ id, task, input }), reject);
    });
  }

  private listening(script: Uint8Array<ArrayBuffer>): Worker {
    const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    const worker = new Worker(url);
    worker.onmessage = ({ data }: MessageEvent<Reply>): void => this.heard(data);
    worker.onerror = (event): void => {
      event.preventDefault();
      const failed = new UserMessage(`the browser stopped the computation (${event.message})`, "reload the page");
      for (const each of this.waiting.values()) each.reject(failed);
      this.waiting.clear();
    };
    return worker;
  }

  private heard(reply: Reply): void {
    const waiting = this.waiting.get(reply.id);
    if (waiting === undefined) return;
    if ("done" in reply) {
      waiting.report(reply.done, reply.total);
      return;
    }
    this.waiting.delete(reply.id);
    if ("what" in reply) waiting.reject(new UserMessage(reply.what, reply.remedy));
    else waiting.resolve(reply.output);
  }
}
