// Search in pages that are opened from a folder. A browser starts no worker there, so the script of the worker
// runs in a frame of its own. The theme asks for this under the name `IFrameWorker`, and would load it from the
// network if the site had none.
class IFrameWorker extends EventTarget {
  constructor(url) {
    super();
    this.onmessage = null;
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    document.body.append(this.frame);
    const inside = this.frame.contentWindow;
    inside.document.open();
    inside.document.write("<!doctype html><title>Search</title><body></body>");
    inside.document.close();
    inside.postMessage = (data) => this.receive(data);
    inside.importScripts = async (...urls) => {
      for (const each of urls) await load(inside.document, each);
    };
    this.ready = load(inside.document, url);
  }

  // A message of the worker's script.
  receive(data) {
    const event = new MessageEvent("message", { data });
    this.dispatchEvent(event);
    if (this.onmessage) this.onmessage(event);
  }

  // A message to the worker's script.
  postMessage(data) {
    this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
  }

  terminate() {
    this.frame.remove();
  }
}

function load(document, url) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${url} cannot be loaded`));
    document.body.append(script);
  });
}

if (location.protocol === "file:") {
  window.IFrameWorker = IFrameWorker;
  window.Worker = IFrameWorker;
}
