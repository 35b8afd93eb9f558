// Has the page drawn anew when the decisions, tags or notes of its run have changed elsewhere. It asks the server only for
// a number, so that nothing is run or drawn while nothing changes.

const SECONDS = 2;

/** @param {{data: {address: string, version: number}, setStateValue: (name: string, value: unknown) => void}} component */
export default function (component) {
  const { data, setStateValue } = component;
  const look = async () => {
    if (document.hidden || isRunning()) return; // a message to a page that is about to change would call it back
    let answer;
    try {
      answer = await fetch(data.address);
    } catch {
      return; // the server does not answer, which Streamlit says itself; it may come back
    }
    if (!answer.ok) {
      clearInterval(timer); // the run is gone
      return;
    }
    const { version } = await answer.json();
    if (version !== data.version && !isRunning()) setStateValue("version", version);
  };
  const timer = setInterval(look, 1000 * SECONDS);
  return () => clearInterval(timer);
}

function isRunning() {
  const state = document.querySelector("[data-testid=stApp]")?.getAttribute("data-test-script-state");
  return state !== "notRunning";
}
